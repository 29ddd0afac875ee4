"""What a recipe says about changing the pictures and texts of a source at random.

What it is: the schema. What each value does stands in `data/augment/`.
"""

from typing import Annotated

from pydantic import Field

from kimivl.config.base import Config

Chance = Annotated[float, Field(ge=0, le=1)]


class AugmentConfig(Config):
    """Off unless a value says otherwise. Chances are of a sample, in every epoch anew; the others are the largest change.

    `mirror`, `straight_turn`: chances. `turn`: degrees either way. `margin`: share of a side that is added as ground around.
    `scale`: factor by which sides grow or shrink at most. `tilt`: share of a side by which corners move inwards. `light`: share
    by which brightness and contrast change. `noise`: standard deviation, of 255. `reorder`: chance that the choices of a
    question change places. `paraphrase`: chance that instructions are said in other words of the same meaning. `coordinates`:
    chance that places are written in another format, which the question then asks for. `document`: share of the noise of
    printers, scanners and paper that is laid on a picture (needs the extra `noise`). Nothing is ever cut off a picture: what
    was counted or named must still be there.
    """

    mirror: Chance = 0.0
    straight_turn: Chance = 0.0
    turn: float = Field(default=0.0, ge=0, le=20)
    margin: float = Field(default=0.0, ge=0, le=1)
    scale: float = Field(default=1.0, ge=1, le=4)
    tilt: float = Field(default=0.0, ge=0, le=0.2)
    light: float = Field(default=0.0, ge=0, le=0.9)
    noise: float = Field(default=0.0, ge=0, le=64)
    reorder: Chance = 0.0
    paraphrase: Chance = 0.0
    coordinates: Chance = 0.0
    document: float = Field(default=0.0, ge=0, le=1)
