"""`/v1/label-sets`"""

from collections.abc import Mapping, Sequence

from ...contract.labels import LabelSet, LabelSetBody
from ...contract.page import Page
from ..bodies import body
from ..calls import Call, at, call, model, nothing


def create(
    labels: Sequence[str] | LabelSetBody,
    descriptions: Mapping[str, str] | None,
    prior: Sequence[float] | None,
    embeddings: Sequence[Sequence[float]] | None,
) -> Call[LabelSet]:
    if not isinstance(labels, LabelSetBody):
        values = {"labels": labels, "descriptions": descriptions, "prior": prior, "embeddings": embeddings}
        labels = body(LabelSetBody, values)
    return call("POST", "/v1/label-sets", model(LabelSet), body=labels)


def get(label_set: str) -> Call[LabelSet]:
    return call("GET", at("label-sets", label_set), model(LabelSet))


def page(limit: int, cursor: str | None) -> Call[Page[LabelSet]]:
    return call("GET", "/v1/label-sets", model(Page[LabelSet]), query={"limit": limit, "cursor": cursor})


def delete(label_set: str) -> Call[None]:
    return call("DELETE", at("label-sets", label_set), nothing)
