"""Words for directions stay true, in English and Chinese, or the warp is refused."""

import pytest

from kimivl.data.augment.directions import redirected
from kimivl.data.augment.geometry import Unspeakable, mirror, resize, straight_turn, turn, window

SIZE = (200, 100)
CROP = window(SIZE, (10, 0, 110, 100))

SAID = [  # of the picture, in the mirror, on the page turned clockwise by 90 degrees
    ("The circle is to the left of the square.", "The circle is to the right of the square.", "The circle is above the square."),
    ("Below the box", "Below the box", "To the left of the box"),
    ("It is on the left of the box", "It is on the right of the box", "It is above the box"),
    ("It is in the top left corner.", "It is in the top right corner.", "It is in the top right corner."),
    ("the lower-left one", "the lower-right one", "the upper-left one"),
    ("What is on the left?", "What is on the right?", "What is at the top?"),
    ("the leftmost circle", "the rightmost circle", "the topmost circle"),
    ("The left side is red.", "The right side is red.", "The top side is red."),
    ("Press the right arrow.", "Press the left arrow.", "Press the down arrow."),
    ("It points to the right.", "It points to the left.", "It points down."),
    ("facing up", "facing up", "facing right"),
    ("The car turns left.", "The car turns right.", "The car turns left."),
    ("It spins anti-clockwise.", "It spins clockwise.", "It spins anti-clockwise."),
    ("红色圆在方块的左边", "红色圆在方块的右边", "红色圆在方块的上边"),
    ("右上角的圆", "左上角的圆", "右下角的圆"),
    ("最左的圆", "最右的圆", "最上的圆"),
    ("箭头朝右", "箭头朝左", "箭头朝下"),
    ("向左转", "向右转", "向左转"),
    ("顺时针", "逆时针", "顺时针"),
    ("There are three circles.", "There are three circles.", "There are three circles."),
]


@pytest.mark.parametrize(("text", "mirrored", "turned"), SAID)
def test_what_is_said_in_a_mirror_and_on_a_turned_page(text, mirrored, turned):
    assert redirected(text, mirror(SIZE)) == mirrored
    assert redirected(text, straight_turn(SIZE, 90)) == turned


@pytest.mark.parametrize("text", [line[0] for line in SAID])
def test_a_mirror_twice_and_four_turns_lead_back(text):
    """Up to the choice among words that say the same."""

    def plain(said: str) -> str:
        return said.replace("anti-", "counter").replace("points to the ", "points ").replace("on the left of", "to the left of")

    assert plain(redirected(redirected(text, mirror(SIZE)), mirror(SIZE))) == plain(text)
    said, size = text, SIZE
    for _ in range(4):
        said, size = redirected(said, straight_turn(size, 90)), size[::-1]
    assert plain(said) == plain(text)


@pytest.mark.parametrize("text", ["what is left?", "the right answer", "from left to right", "左右各一个", "第二列", "east"])
def test_words_that_may_be_directions_are_refused_in_a_mirror_and_kept_where_nothing_moves(text):
    for warp in (mirror(SIZE), straight_turn(SIZE, 180)):
        with pytest.raises(Unspeakable, match="may be a direction"):
            redirected(text, warp)
    assert redirected(text, resize(SIZE, (50, 60))) == text


@pytest.mark.parametrize("text", ["in the top left corner", "on the right.", "the leftmost circle", "左边的圆"])
@pytest.mark.parametrize("warp", [CROP, turn(SIZE, 5)])
def test_places_of_the_frame_are_refused_where_the_frame_is_cut(text, warp):
    with pytest.raises(Unspeakable, match="place of the frame"):
        redirected(text, warp)


@pytest.mark.parametrize("text", ["left of the square", "above it", "The car turns left", "箭头朝右"])
def test_relations_survive_a_crop_and_a_slight_turn(text):
    assert redirected(text, CROP) == redirected(text, turn(SIZE, 5)) == text


def test_a_picture_askew_has_no_straight_directions():
    with pytest.raises(Unspeakable, match="no single straight direction"):
        redirected("left of the square", turn(SIZE, 45))


@pytest.mark.parametrize("text", ["pick it up", "scroll(direction='down')", "the second row", "north"])
def test_a_mirror_leaves_alone_what_is_up_and_down(text):
    assert redirected(text, mirror(SIZE)) == text
    with pytest.raises(Unspeakable, match="may be a direction"):
        redirected(text, straight_turn(SIZE, 90))


@pytest.mark.parametrize("text", ["红圆在蓝方块上面", "圆在图片顶部", "which shape is higher?", "underneath the box"])
def test_what_speaks_of_up_and_down_is_refused_on_a_turned_page(text):
    with pytest.raises(Unspeakable):
        redirected(text, straight_turn(SIZE, 180))
    assert redirected(text, mirror(SIZE)) == text
