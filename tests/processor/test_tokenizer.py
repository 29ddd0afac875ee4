"""Text survives the tokenizer, never becomes structure, and gets the ids of the official layout and pattern."""

import base64
import pickle
import random
import unicodedata

import pytest
import regex

from kimivl.processor.tokenizer import SPLIT_PATTERN, Tokenizer

# The official ids of Kimi-VL, copied from its published description, not from our table.
OFFICIAL_IDS = {
    "[BOS]": 163584,
    "[EOS]": 163585,
    "<|im_end|>": 163586,
    "<|im_user|>": 163587,
    "<|im_assistant|>": 163588,
    "<|reserved_token_163589|>": 163589,
    "<|start_header_id|>": 163590,
    "<|end_header_id|>": 163591,
    "[EOT]": 163593,
    "<|im_system|>": 163594,
    "<|reserved_token_163595|>": 163595,
    "<|im_middle|>": 163601,
    "<|media_start|>": 163602,
    "<|media_content|>": 163603,
    "<|media_end|>": 163604,
    "<|media_pad|>": 163605,
    "<|reserved_token_163606|>": 163606,
    "<|reserved_token_163837|>": 163837,
}

TEXTS = [
    "",
    " ",
    "You are a helpful assistant",
    "it's WE'LL they'Re 12345 3.14159",
    "line one\r\nline two\n\n\n  indented\t\ttabs   ",
    "床前明月光，疑是地上霜。Hello你好world 123汉字",
    "👩‍👩‍👧‍👦 🇫🇷 e\u0301 é ñ ﬁ Ω ℵ ◁think▷ ◁/think▷",
    "\x00\x1c\x85\u2003\u200b\u3000 nul and odd spaces",
    "שלום नमस्ते ไทย 한국어 かな カナ",
    "<|im_end|>[EOS]<|media_pad|>",
]


def random_texts(count: int, seed: int) -> list[str]:
    """Strings over all of Unicode, biased to what meets in practice: spaces, letters, digits, CJK, newlines."""
    rng = random.Random(seed)
    common = " \n\r\t'abcXYZ019.,!é漢字'ſK"
    anything = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    return [
        "".join(rng.choice(common if rng.random() < 0.7 else anything) for _ in range(rng.randrange(40))) for _ in range(count)
    ]


def bpe_by_definition(text: str, ranks: dict[bytes, int]) -> list[int]:
    """Split, then join the neighbours of the lowest rank, the leftmost first, until no pair has a rank."""
    ids = []
    for word in regex.findall(SPLIT_PATTERN, text, regex.V1):
        tokens = [bytes([value]) for value in word.encode()]
        while True:
            ranked = [
                (ranks[left + right], at) for at, (left, right) in enumerate(zip(tokens, tokens[1:])) if left + right in ranks
            ]
            if not ranked:
                break
            _, at = min(ranked)
            tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
        ids += [ranks[token] for token in tokens]
    return ids


def read_ranks_by_hand(path) -> dict[bytes, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@pytest.mark.parametrize("spelled", [False, True])
def test_text_survives_encoding_and_decoding(tokenizer, spelled):
    for text in [*TEXTS, *random_texts(300, seed=1)]:
        assert tokenizer.decode(tokenizer.encode(text, spelled=spelled)) == text


def test_encoding_is_the_split_pattern_and_then_merges_by_rank(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "ranks")
    ranks = read_ranks_by_hand(tmp_path / "ranks")
    for text in [*TEXTS, *random_texts(300, seed=2)]:
        assert tokenizer.encode(text) == bpe_by_definition(text, ranks)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello你好World's", ["Hello", "你好", "World's"]),
        ("HTMLParser it'S x'y", ["HTMLParser", " it'S", " x", "'y"]),
        ("12345 678", ["123", "45", " ", "678"]),
        ("a  b\n\n  c", ["a", " ", " b", "\n\n", " ", " c"]),
        ("end.\r\nnext ***\n", ["end", ".\r\n", "next", " ***\n"]),
    ],
)
def test_the_pattern_splits_as_worked_out_by_hand(text, pieces):
    assert regex.findall(SPLIT_PATTERN, text, regex.V1) == pieces


def test_spelled_text_has_one_id_a_byte_in_the_order_of_the_characters(tokenizer):
    ids = tokenizer.encode("a1é漢👍", spelled=True)
    by_character = [tokenizer.encode(character, spelled=True) for character in "a1é漢👍"]
    assert [len(one) for one in by_character] == [1, 1, 2, 3, 4]
    assert ids == sum(by_character, [])
    assert all(len(tokenizer.decode_bytes([id])) == 1 for id in ids)


def test_spelled_and_merged_text_differ_where_there_are_merges(tokenizer):
    assert len(tokenizer.encode("The squares")) == 2
    assert len(tokenizer.encode("The squares", spelled=True)) == 11


@pytest.mark.parametrize("spelled", [False, True])
def test_typed_special_tokens_stay_text(tokenizer, spelled):
    names = [tokenizer.decode([id]) for id in range(tokenizer.n_ranks, tokenizer.vocab_size)]
    assert len(set(names)) == 256
    for name in names:
        ids = tokenizer.encode(f"a{name}b {name}", spelled=spelled)
        assert max(ids) < tokenizer.n_ranks
        assert tokenizer.decode(ids) == f"a{name}b {name}"


def test_slots_follow_the_ranks_in_the_official_order(tokenizer):
    shift = 163584 - tokenizer.n_ranks
    for name, official in OFFICIAL_IDS.items():
        if "reserved" not in name:
            assert tokenizer.special(name) == official - shift
    assert tokenizer.vocab_size == tokenizer.n_ranks + 256 and tokenizer.pad_id == tokenizer.vocab_size - 1
    assert tokenizer.special(f"<|reserved_token_{163589 - shift}|>") == 163589 - shift
    assert tokenizer.stop_ids == {tokenizer.eos_id, tokenizer.im_end_id} == {163585 - shift, 163586 - shift}


def test_an_unknown_special_token_names_the_known_ones(tokenizer):
    with pytest.raises(ValueError, match=r"no special token is called '<\|video\|>'.*<\|media_pad\|>"):
        tokenizer.special("<|video|>")


def test_a_character_cut_in_two_is_whole_again_as_bytes(tokenizer):
    ids = tokenizer.encode("◁think▷", spelled=True)
    assert "\ufffd" in tokenizer.decode(ids[:2])
    assert b"".join(tokenizer.decode_bytes([id]) for id in ids).decode() == "◁think▷"


@pytest.mark.parametrize("id", [-1, 10**6])
def test_an_id_outside_the_vocabulary_is_named(tokenizer, id):
    with pytest.raises(ValueError, match=f"id {id} is outside"):
        tokenizer.decode([65, id])


def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer):
    for spelled in (False, True):
        assert tokenizer.decode(tokenizer.encode("a\ud800b", spelled=spelled)) == "a\ufffdb"


def test_long_text_is_cut_where_the_official_wrapper_cuts(tokenizer):
    encode = tokenizer.encode
    run = "a" * 25_000
    assert encode(run + "a") == encode(run) + encode("a")
    assert encode(f"{run}aa bb") == encode(run) + encode("aa bb")
    assert encode(" " * 25_003 + "x") == encode(" " * 25_000) + encode("   x")
    words = "brown fox " * 41_000
    assert encode(words) == encode(words[:400_000]) + encode(words[400_000:])


@pytest.mark.parametrize("unit", ["a", " ", "\n", "漢", "!"])
def test_a_million_equal_characters_come_back(tokenizer, unit):
    text = unit * 1_000_000
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_saving_and_loading_keeps_every_id(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tiktoken.model")
    loaded = Tokenizer.load(tmp_path / "tiktoken.model")
    assert loaded.vocab_size == tokenizer.vocab_size
    assert all(loaded.encode(text) == tokenizer.encode(text) for text in TEXTS)
    first, second = (tmp_path / "tiktoken.model").read_text().splitlines()[:2]
    assert (first, second) == ("AA== 0", "AQ== 1")


def test_a_copy_sent_to_another_process_is_equal(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


BYTES = [f"{base64.b64encode(bytes([value])).decode()} {value}" for value in range(256)]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([*BYTES, "no rank"], "line 257 is not a base64 token, a space and a rank"),
        ([*BYTES, "!!!! 256"], "line 257 is not"),
        ([*BYTES, "", "YWI= 256"], "line 257 is not"),
        ([*BYTES, "QQ== 256"], "line 257 repeats"),
        ([*BYTES, "YWI= 300"], "the 257 ranks are not 0 … 256"),
        (BYTES[:255], "1 of the 256 single bytes have no rank"),
        (["version https://git-lfs.github.com/spec/v1"], "line 1 is not"),
        ([], "256 of the 256"),
    ],
)
def test_a_damaged_rank_file_is_refused_with_its_name_and_line(tmp_path, lines, named):
    path = tmp_path / "tiktoken.model"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"tiktoken.model: {named}"):
        Tokenizer.load(path)


def test_a_missing_rank_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no.model: there is no such rank file"):
        Tokenizer.load(tmp_path / "no.model")


# What follows holds our reading of the layout against the released ranks.


@pytest.fixture(scope="module")
def official(official_ranks_file) -> Tokenizer:
    return Tokenizer.load(official_ranks_file)


def test_official_special_ids(official):
    assert official.vocab_size == 163_840
    assert {name: official.special(name) for name in OFFICIAL_IDS} == OFFICIAL_IDS
    assert official.pad_id == 163_839


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("user", [2482]),
        ("system", [14062]),
        ("assistant", [69702]),
        ("image", [4017]),
        ("You are a helpful assistant", [3900, 554, 261, 13205, 26626]),
        ("◁think▷", [17721, 223, 39964, 7058, 115]),
        ("◁/think▷", [17721, 223, 14, 39964, 7058, 115]),
    ],
)
def test_official_ids_of_known_texts(official, text, ids):
    assert official.encode(text) == ids


def test_official_ids_agree_with_another_implementation(official):
    splintr = pytest.importorskip("splintr", reason="pip install splintr-rs==0.22.0")
    other = splintr.Tokenizer.from_pretrained("kimi_k2")
    for text in [*TEXTS, *random_texts(300, seed=3)]:
        assert official.encode(text) == list(other.encode_ordinary(text)), repr(text)
