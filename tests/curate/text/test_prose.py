"""What a reader would call prose is kept; code, tables, signatures and mathematics go."""

import inspect

from kimivl.curate.text.prose import Novelty, paragraphs, prose_score

NUMPY_STYLE = inspect.cleandoc("""
    Return the mean of the values that are not masked in this array.

    Parameters
    ----------
    axis : int, optional
        Axis along which the mean is computed. By default the mean
        of the flattened `array` is returned.
    dtype : dtype
        Kind.

    See Also
    --------
    median : Compute it.

    Notes
    -----
    The sum is taken first, as described for :func:`~numpy.sum` in [1]_.

    The result is then divided by the number of values that went into it::

        total / count   # this is a literal block and it is not a sentence.

    It is given by :math:`a = b`, which is a formula and cannot be read by anyone.

    - The first item of the list is a sentence that goes on
      in the second line.
    - The second item is a sentence too, and it is long enough.

    .. [1] A. Author, "The title of a book that nobody should find in here", 1999.

    Examples
    --------
    >>> mean([1, 2])
    1.5
""")


def test_numpy_docstring():
    assert paragraphs(NUMPY_STYLE) == [
        "Return the mean of the values that are not masked in this array.",
        "Axis along which the mean is computed. By default the mean of the flattened array is returned.",
        "The sum is taken first, as described for numpy.sum in.",
        "The first item of the list is a sentence that goes on in the second line.",
        "The second item is a sentence too, and it is long enough.",
    ]


def test_near_copies_are_recognised():
    novelty = Novelty()
    original = "The quick brown fox jumps over the lazy dog while the cat sleeps in the warm sun of the late afternoon."
    assert novelty.accept(original)
    assert not novelty.accept(original.replace("afternoon", "morning").upper())
    assert novelty.accept("Nothing of this has been said in the text above, so that it has to be accepted as new by the filter.")


def test_prose_scores_above_lists_of_names():
    prose = "It was the best of times and it was the worst of times, as the old story has it for all of us. " * 3
    names = "dtype axis out keepdims initial where casting order subok signature extobj"
    assert prose_score(prose) > 0.8 > 0.3 > prose_score(names)
