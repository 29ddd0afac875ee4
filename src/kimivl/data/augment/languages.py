"""Whether a text is in a language whose words for directions are known: English and Chinese.

What it is: `stranger_in`, which names what in the texts of a sample is in another language. It is conservative: a text that is
taken for another language keeps its picture the way round it is, which costs a picture, and never the truth.
What it is not: a detector of languages. A record that says its language in `meta.language` or `meta.lang` is believed first.
Facts: the blocks of Unicode; the words of direction and the small words of the languages that are written most in Latin letters.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

KNOWN = ("en", "eng", "english", "zh", "zho", "chi", "cmn", "chinese")
KEYS = ("language", "lang")  # of meta, BCP 47, as the index reads it

# Letters of neither Latin nor Han script. Single Greek ones are signs of mathematics, so only words of them count.
_SCRIPT = re.compile(
    r"[\u0370-\u03ff\u1f00-\u1fff]{2,}|[\u0400-\u1cff\u2c00-\u2dff\u3040-\u30fa\u30fc-\u30ff\u3100-\u318f\ua000-\uabff"
    r"\uac00-\ud7ff\ufb1d-\ufdff\ufe70-\ufefc\uff66-\uffdc]+"
)
_NOT_WORDS = re.compile(
    r"\\[A-Za-z]+|\"\w+\"\s*:|https?://\S+|<[^<>]*>|[\w.]+\(|\w*[\d_]\w*|\w+="
)  # code, keys, addresses, markup
_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
_ACCENTED = re.compile(r"[À-ÖØ-öø-ʯ\u1e00-\u1eff]")

# Left, right, up, down, above, below in other languages, without those that are common English words.
_WAYS = frozenset(
    """gauche droite haut bas dessus dessous links rechts linken rechten linke rechte linker rechter linkes rechtes oben unten
    obere untere oberen unteren izquierda derecha izquierdo derecho arriba abajo encima debajo esquerda direita esquerdo direito
    cima baixo acima abaixo sinistra destra sinistro destro sopra sotto linksboven linksonder rechtsboven rechtsonder boven
    onder beneden venstre hoyre hojre vanster hoger upp ned ovan nedan lewo prawo lewej prawej lewa prawa lewy prawy vlevo vpravo
    nahore dole levo desno bal jobb balra jobbra stanga dreapta sus jos solda sagda kiri kanan atas bawah kushoto kulia
    kaliwa esquerra dreta vasemmalla oikealla vasen oikea vasakul paremal trai phai""".split()
)
# Small words of other languages, without those that English has too.
_SMALL = frozenset(
    """der das und ist nicht ein eine einen einem auf mit von dem des sich auch zu im wo wie welche welches le la les est dans
    du une sur avec que qui dont où quel quelle quels quelles il elle sont au aux et el los las una por del se qué dónde
    cuál cuántos um uma os em na nos não com onde qual quantos di che è della nel nella sono dove quale het een zijn waar welke
    hoeveel och är på som ett og er det hvor hvad ikke się jest nie gdzie ile ve bir bu yang ini itu adalah ng mga
    kwa ni si kde je jsou unde este sunt hol egy az missä mitä ja kuva""".split()
)
_ENGLISH = frozenset(
    """the a an of to in is and that it for on with as at by be this are or from was not which what where who how many much there
    has have can you i we they he she its their his her one two three no yes but so if then than when does do did all any each
    some more most other into over under between near next behind image picture photo red blue green yellow black white orange
    purple pink brown gray grey left right top bottom up down point click find show give tell name look please answer question
    option circle square triangle box""".split()
)
_ENOUGH = 6  # different words, of which one in ten should be a common one


def stranger_in(texts: Sequence[str], meta: Mapping[str, Any]) -> str:
    """What shows that texts of one sample are in a language that is neither English nor Chinese; "" if nothing does."""
    said = next((meta[key] for key in KEYS if isinstance(meta.get(key), str) and meta[key]), "")
    if said and said.lower().split("-")[0].split("_")[0] not in KNOWN:
        return said
    found = next((stranger for text in texts if (stranger := _strange(text))), "")
    return found or _unheard(texts)


def _strange(text: str) -> str:
    """Another script, a word for a direction, or more small words and accents of others than common English words."""
    if script := _SCRIPT.search(text):
        return script[0]
    words = _words(text)
    if ways := [word for word in words if word in _WAYS]:
        return ways[0]
    others = [word for word in words if word in _SMALL or _ACCENTED.search(word)]
    return others[0] if others and len(others) >= sum(word in _ENGLISH for word in words) else ""


def _unheard(texts: Sequence[str]) -> str:
    """Many words without a common English one among them, and no Chinese."""
    words = {word for text in texts for word in _words(text) if len(word) > 1}
    if len(words) < _ENOUGH or any(_HAN.search(text) for text in texts):
        return ""
    return " ".join(sorted(words)[:_ENOUGH]) if 10 * len(words & _ENGLISH) < len(words) else ""


def _words(text: str) -> list[str]:
    """Of Latin letters, small, without code and addresses."""
    return [word.lower() for word in _WORD.findall(_NOT_WORDS.sub(" ", text)) if not _HAN.search(word)]
