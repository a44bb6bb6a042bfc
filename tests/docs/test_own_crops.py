"""The commands of the pages on own crops and on fields run, in one folder, in the order of the pages.

A file of its own, since pytest-xdist gives a file to one process: the pages are the longest tests.
"""

import pytest

from .pages import FIELDS, OWN_CROPS, run_page


@pytest.mark.slow
@pytest.mark.parametrize("page", OWN_CROPS + FIELDS)
def test_commands_of_the_page_run(page, place):
    run_page(page, *place)
