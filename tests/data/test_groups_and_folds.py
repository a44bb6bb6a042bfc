"""Groups and folds: planted relations, and what is known of the real data sets."""

import numpy as np
import pytest

from madrnet_timm.data.folds import make_folds, shipped_folds
from madrnet_timm.data.groups import find_groups, numbered, overlapping_pairs, twin_pairs
from madrnet_timm.data.sources import drop_conflicts, images_of, load
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError

# the pairs of data sets' crops that were checked by eye
HUSHEM_OVERLAPS = {
    ("01_Normal/image_002", "01_Normal/image_003"),
    ("01_Normal/image_003", "01_Normal/image_004"),
    ("01_Normal/image_010", "01_Normal/image_011"),
    ("01_Normal/image_050", "01_Normal/image_051"),
    ("02_Tapered/image_029", "04_Amorphous/image_040"),
    ("02_Tapered/image_036", "03_Pyriform/image_040"),
    ("02_Tapered/image_042", "02_Tapered/image_043"),
    ("03_Pyriform/image_037", "04_Amorphous/image_041"),
    ("03_Pyriform/image_039", "04_Amorphous/image_045"),
    ("03_Pyriform/image_046", "03_Pyriform/image_047"),
}
HUSHEM_TWINS = {
    ("02_Tapered/image_032", "02_Tapered/image_033"),
    ("03_Pyriform/image_031", "03_Pyriform/image_032"),
    ("04_Amorphous/image_042", "04_Amorphous/image_043"),
}


def field(seed=0, size=300):
    """A large noisy image to crop from."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal([200, 150, 190], 6, (size, size, 3)), 0, 255).astype(np.uint8)


def test_overlapping_crops_are_found_at_any_shift():
    whole = field()
    a, b, c = whole[:131, :131], whole[90:221, 40:171], whole[10:141, 160:291]
    other = field(1)[:131, :131]
    assert overlapping_pairs([a, b, c, other]) == {(0, 1), (1, 2)}


def test_a_patch_in_common_is_not_an_overlap():
    a, b = field(1)[:131, :131].copy(), field(2)[:131, :131].copy()
    b[20:60, 20:60] = a[50:90, 30:70]
    assert overlapping_pairs([a, b]) == set()


def test_twins_are_found_and_other_cells_are_not():
    head = draw_head("Normal", 7).image
    shifted = np.roll(head, 1, axis=1)
    noisy = np.clip(shifted + np.random.default_rng(0).normal(0, 2, head.shape), 0, 255).astype(np.uint8)
    assert twin_pairs([head, draw_head("Normal", 8).image, noisy]) == {(0, 2)}


def test_groups_join_transitively():
    whole = field()
    crops = [whole[:131, :131], whole[100:231, 0:131], field(1)[:131, :131], whole[150:281, 100:231]]
    assert find_groups([*crops, crops[0].copy()], ["a", "b", "c", "d", "a"]) == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_numbered_by_their_first_members(seed):
    """Against groups that are merged one pair after the other."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    pairs = {tuple(pair) for pair in rng.integers(0, n, (int(rng.integers(0, n + 1)), 2)).tolist()}
    sets = [{member} for member in range(n)]
    for i, j in pairs:
        joined = next(one for one in sets if i in one) | next(one for one in sets if j in one)
        sets = [one for one in sets if not one & joined] + [joined]
    order = sorted(map(min, sets))
    expected = [next(order.index(min(one)) for one in sets if member in one) for member in range(n)]
    assert numbered(n, pairs) == expected


def test_hushem_groups(hushem_dir):
    records = load("hushem", hushem_dir)
    group = {file.removesuffix(".BMP"): g for file, g in zip(records["file"], records["group"], strict=True)}
    assert len(set(group.values())) == 203
    for a, b in HUSHEM_OVERLAPS | HUSHEM_TWINS:
        assert group[a] == group[b]


def test_hushem_records(hushem_dir):
    records = load("hushem", hushem_dir)
    assert records.features["label"].names == ["Normal", "Tapered", "Pyriform", "Amorphous"]
    assert np.bincount(records["label"]).tolist() == [54, 53, 57, 52]
    assert sum(records["ok"]) >= 211
    assert not any(str(hushem_dir) in str(value) for value in records[0].values())
    assert (records[0]["image_width"], records[0]["image_height"]) == (131, 131)


@pytest.mark.parametrize("seed", [0, 1])
def test_hushem_folds_divide_no_group(hushem_dir, seed):
    records = load("hushem", hushem_dir)
    folds, groups, labels = make_folds(records, seed=seed), np.array(records["group"]), np.array(records["label"])
    assert set(folds) == set(range(5))
    for group in set(groups):
        assert len(set(folds[groups == group])) == 1
    for label in range(4):
        sizes = np.bincount(folds[labels == label], minlength=5)
        assert sizes.max() - sizes.min() <= 2


def test_folds_do_not_depend_on_the_order_of_files():
    records = load("synthetic", count=12)
    shuffled = records.shuffle(seed=3)
    # other group numbers too, as another order of files would give
    shuffled = shuffled.map(lambda r: {"group": 1000 - r["group"]})
    before = dict(zip(records["file"], make_folds(records), strict=True))
    assert dict(zip(shuffled["file"], make_folds(shuffled), strict=True)) == before


def test_too_few_groups():
    with pytest.raises(InputError, match=r"class Normal: 3 groups .* --folds 3"):
        make_folds(load("synthetic", count=3), folds=5)


@pytest.fixture(scope="module")
def smids(smids_dir):
    return load("smids", smids_dir)  # 3,000 images, each compared with every other


@pytest.mark.slow
def test_smids_known_duplicates_and_conflicts(smids):
    records = smids
    assert np.bincount(records["label"]).tolist() == [1005, 974, 1021]
    hashes = records["pixel_sha256"]
    assert len(set(hashes)) == 2951
    rest, dropped = drop_conflicts(records)
    assert len(dropped) == 8
    assert len(rest) == 2992
    pairs = twin_pairs(list(images_of(records)))
    assert len(pairs) >= 148  # those that correlate above 0.98 as thumbnails are among them, by the known count
    assert sum(hashes[i] == hashes[j] for i, j in pairs) == 49
    group = np.array(records["group"])
    assert all(group[i] == group[j] for i, j in pairs)
    of_hash = {}
    for value, g in zip(hashes, group, strict=True):
        assert of_hash.setdefault(value, g) == g


@pytest.mark.slow
def test_shipped_folds_of_smids_are_those_of_the_rule(smids):
    records, _ = drop_conflicts(smids)
    groups = np.array(records["group"])
    for seed in range(3):
        folds = shipped_folds("smids", records, seed)
        assert np.array_equal(folds, make_folds(records, 5, seed))
        first = {}
        assert all(first.setdefault(group, fold) == fold for group, fold in zip(groups, folds, strict=True))
