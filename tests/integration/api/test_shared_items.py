"""A test that shares items with the data is rejected; an upload's answer says what was read."""

import io

import httpx2
import numpy as np
import pytest
from PIL import Image

from .seeds import Seeds

ROWS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def vectors(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, features=rows, labels=np.array(["cat", "dog"] * (len(rows) // 2)))
    return buffer.getvalue()


def uploaded(http: httpx2.Client, content: bytes, name: str = "p.npz") -> str:
    answer = http.post("/v1/probes", params={"filename": name}, content=content)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


def submitted(http: httpx2.Client, seeds: Seeds, data: str, test: str) -> httpx2.Response:
    return http.post("/v1/distillations", json={"teachers": [seeds.teacher], "data": data, "test": test})


def test_a_test_that_is_the_data(http: httpx2.Client, seeds: Seeds) -> None:
    data = uploaded(http, vectors(ROWS[:6]))
    answer = submitted(http, seeds, data, data)
    assert answer.status_code == 422
    assert f"test and data are the same probe, {data}. Leave test out" in answer.text


def test_a_test_that_shares_items_with_the_data(http: httpx2.Client, seeds: Seeds) -> None:
    data = uploaded(http, vectors(ROWS[:6]))
    test = uploaded(http, vectors(ROWS[4:10]))
    answer = submitted(http, seeds, data, test)
    assert answer.status_code == 422
    assert "2 of 6 items of test" in answer.text
    assert "item 0 is item 4, item 1 is item 5" in answer.text
    apart = uploaded(http, vectors(ROWS[6:]))
    assert "items of test" not in submitted(http, seeds, data, apart).text


@pytest.mark.parametrize("ending", ["png", "parquet"])
def test_items_are_the_same_in_another_format(http: httpx2.Client, seeds: Seeds, ending: str) -> None:
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = np.random.default_rng(1).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    encoded: list[bytes] = []
    for pixels in pictures:
        one = io.BytesIO()
        Image.fromarray(pixels).save(one, "PNG", compress_level=1)
        encoded.append(one.getvalue())
    arrays, buffer = io.BytesIO(), io.BytesIO()
    np.savez(arrays, images=pictures, labels=np.array(["cat", "dog"] * 2))
    if ending == "png":
        with zipfile.ZipFile(buffer, "w") as file:
            for number, data in enumerate(encoded[:2]):
                file.writestr(f"{['cat', 'dog'][number]}/{number}.png", data)
    else:
        pq.write_table(pa.table({"image": encoded[:2], "label": ["cat", "dog"]}), buffer)
    data = uploaded(http, arrays.getvalue())
    test = uploaded(http, buffer.getvalue(), "p.zip" if ending == "png" else "p.parquet")
    assert "2 of 2 items of test" in submitted(http, seeds, data, test).text


def test_the_answer_is_about_this_upload(http: httpx2.Client) -> None:
    first = http.post("/v1/probes?filename=p.csv", content=b"text\na\nb\n").json()
    again = http.post("/v1/probes?filename=p.csv", content=b"text,gold\na,x\nb,y\n").json()
    assert (first["id"], first["warnings"]) == (again["id"], [])
    assert again["columns"] == {"content": "text", "label": None, "passed_over": ["gold"]}
    assert "'gold'" in again["warnings"][0]
    checked = http.post("/v1/probes?check=true&filename=p.csv", content=b"text,gold\na,x\nb,y\n").json()
    assert checked["warnings"] == again["warnings"]


def test_names_that_name_nothing(http: httpx2.Client, seeds: Seeds) -> None:
    body = {"student": {"labels": ["LABEL_0", "LABEL_1"]}, "candidates": [{"name": "a", "labels": ["cat", "dog"]}]}
    answer = http.post("/v1/recommendations", json=body)
    assert answer.status_code == 422
    assert "'LABEL_0', 'LABEL_1' name nothing" in answer.text
