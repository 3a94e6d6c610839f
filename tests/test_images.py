"""Tests of reading image files: palettes, depth, transparency, and PNG files with damage beside their pixels."""

from __future__ import annotations

import io
import ntpath
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ram.data import conversion, images
from ram.data.conversion import BadImage, Conversion, Measure

# ---- palettes


def indexed(palette, pixels, **info):
    """An image of numbers that stand for the colors of a palette."""
    image = Image.fromarray(np.array(pixels, np.uint8))
    image = image.convert("P") if image.mode != "P" else image
    image = Image.frombytes("P", image.size, np.array(pixels, np.uint8).tobytes())
    image.putpalette([level for color in palette for level in color])
    image.info.update(info)
    return image


WOOD, LEAF = (120, 72, 33), (34, 139, 58)
GRAYS = [(level, level, level) for level in (0, 90, 180, 255)]


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif"])
@pytest.mark.parametrize(
    "palette, color",
    [([WOOD, LEAF], True), (GRAYS, False), ([*GRAYS, LEAF], False), ([GRAYS[2], WOOD], True)],
    ids=["colors", "grays", "a color that no pixel shows", "gray and a color"],
)
def test_palette_is_colored_where_it_shows_color(tmp_path, ending, palette, color):
    pixels = np.tile([0, 1], (6, 4))
    indexed(palette, pixels).save(tmp_path / f"a.{ending}")
    assert images.measure(str(tmp_path / f"a.{ending}")).color is color
    found = images.read(str(tmp_path / f"a.{ending}"), 3)
    assert found[:, 0, :2].T.tolist() == [list(palette[0]), list(palette[1])]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_entry_of_a_palette_shows_no_color(tmp_path, transparency):
    image = indexed([GRAYS[1], LEAF], np.tile([0, 1], (6, 4)))
    image.save(tmp_path / "a.png", transparency=transparency)
    assert not images.measure(str(tmp_path / "a.png")).color


# ---- depth


@pytest.mark.parametrize(
    "largest, white", [(0, 255), (201, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4096, 65535)]
)
def test_white_of_whole_numbers_is_the_smallest_level_that_holds_all(tmp_path, largest, white):
    values = np.linspace(0, largest, 48).astype(np.uint16).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values // 2).save(tmp_path / "b.png")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "c.tif")
    measures = [images.measure(str(tmp_path / name)) for name in ("a.png", "b.png", "c.tif")]
    how = conversion.decide(measures)
    assert how == Conversion(white, None, "black")
    for name, exact in (("a.png", values), ("b.png", values // 2), ("c.tif", values)):
        expected = np.rint(exact * np.float32(255 / white))
        np.testing.assert_array_equal(images.read(str(tmp_path / name), 1, None, how)[0], expected)


@pytest.mark.parametrize("largest, white", [(0.3, 1), (1.0, 1), (1.009, 1), (1.02, 255), (200.0, 255), (300.0, 255)])
def test_white_of_floating_point_is_one_or_255(tmp_path, largest, white):
    values = np.linspace(-0.5, largest, 48).astype(np.float32).reshape(6, 8)
    values[3, 3] = np.nan
    values[3, 4] = np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    how = conversion.decide([images.measure(str(tmp_path / "a.tif"))])
    assert how == Conversion(None, white, "black")
    found = images.read(str(tmp_path / "a.tif"), 1, None, how)[0]
    values[3, 3], values[3, 4] = 0, white
    np.testing.assert_array_equal(found, np.clip(np.rint(values * np.float32(255 / white)), 0, 255))


def test_alone_an_image_uses_its_own_largest_value(tmp_path):
    for largest, found in ((77, 77), (770, 192), (3000, 187)):
        Image.fromarray(np.full((3, 4), largest, np.uint16)).save(tmp_path / "a.png")
        assert (images.read(str(tmp_path / "a.png"), 1) == found).all()


def test_values_above_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((3, 4), 70_001, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match="70001"):
        images.read(str(tmp_path / "a.tif"), 1)
    with pytest.raises(BadImage, match="70001"):
        conversion.decide([images.measure(str(tmp_path / "a.tif"))])


def test_bands_give_what_the_whole_image_gives(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 3000, (50, 7)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    whole = images.read(str(tmp_path / "a.png"), 1)
    monkeypatch.setattr(conversion, "TILE", 4)
    np.testing.assert_array_equal(images.read(str(tmp_path / "a.png"), 1), whole)
    assert images.measure(str(tmp_path / "a.png")).integer == values.max()


# ---- transparency


def test_background_of_a_data_set_is_the_one_its_visible_pixels_stand_out_from(tmp_path):
    for name, ink in (("dark", 60), ("light", 190)):
        image = Image.new("LA", (9, 9), (0, 0))
        image.paste((ink, 255), (2, 2, 6, 8))
        image.save(tmp_path / f"{name}.png")
    Image.new("L", (9, 9), 255).save(tmp_path / "opaque.png")
    dark, light, opaque = (images.measure(str(tmp_path / f"{name}.png")) for name in ("dark", "light", "opaque"))
    assert (dark.ink, dark.visible) == (60 * 24 * 255, 24 * 255) and (opaque.ink, opaque.visible) == (0, 0)
    assert conversion.decide([dark, dark, light]).background == "white"
    assert conversion.decide([dark, light, light]).background == "black"
    assert conversion.decide([opaque]).background == "black"
    for background, level in (("white", 255), ("black", 0)):
        for name, ink in (("dark", 60), ("light", 190)):
            pixels = images.read(str(tmp_path / f"{name}.png"), 1, None, Conversion(background=background))[0]
            assert pixels[0, 0] == level and pixels[4, 4] == ink


def test_alpha_that_hides_nothing_does_not_count(tmp_path):
    Image.new("RGBA", (5, 5), (9, 9, 9, 255)).save(tmp_path / "a.png")
    assert images.measure(str(tmp_path / "a.png")) == Measure(True)


# ---- what stands beside the pixels of a PNG file


def chunk(kind, data, checksum=None):
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_with(*extra, behind=False, mode="RGB"):
    """A PNG file with further chunks before or behind its pixels, and its pixels."""
    pixels = np.random.default_rng(5).integers(0, 256, (16, 14, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    content = buffer.getvalue()
    at = content.index(b"IEND" if behind else b"IDAT") - 4
    return content[:at] + b"".join(extra) + content[at:], np.asarray(Image.fromarray(pixels).convert(mode))


LONG = zlib.compress(b"x" * 1_500_000)
BESIDE = {
    "EXIF data that are none": chunk(b"eXIf", b"\xff\xd8 no TIFF at all"),
    "EXIF data cut off": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x09\x01\x12"),
    "EXIF data, empty": chunk(b"eXIf", b""),
    "long zipped text": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "long international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    "large profile": chunk(b"iCCP", b"profile\0\0" + LONG),
    "profile that is no zlib": chunk(b"iCCP", b"profile\0\0" + b"abcdef"),
    "wrong checksum": chunk(b"tEXt", b"Title\0me", checksum=7),
    "cut physical size": chunk(b"pHYs", b"\0\0"),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", BESIDE)
def test_damage_beside_the_pixels_of_a_png_costs_nothing(tmp_path, name, behind):
    content, pixels = png_with(BESIDE[name], behind=behind)
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(images.read(str(tmp_path / "a.png"), 3), pixels.transpose(2, 0, 1))
    assert images.size(str(tmp_path / "a.png")) == (16, 14) and images.measure(str(tmp_path / "a.png")).color


def test_transparency_and_palette_survive_what_is_left_out(tmp_path):
    image = indexed([WOOD, LEAF, GRAYS[3]], np.tile([0, 1, 2], (5, 3)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=1)
    content = buffer.getvalue()
    at = content.index(b"PLTE") - 4
    (tmp_path / "a.png").write_bytes(content[:at] + BESIDE["large profile"] + content[at:])
    found = images.read(str(tmp_path / "a.png"), 3, None, Conversion(background="white"))
    assert found[:, 0, :3].T.tolist() == [list(WOOD), [255, 255, 255], [255, 255, 255]]


def test_damaged_pixels_of_a_png_are_still_damaged(tmp_path):
    content, _ = png_with(BESIDE["large profile"])
    at = content.index(b"IDAT") + 4
    for spoiled in (content[: at + 60], content[:at] + bytes(20) + content[at + 20 :]):
        (tmp_path / "a.png").write_bytes(spoiled)
        with pytest.raises(BadImage):
            images.read(str(tmp_path / "a.png"), 3)


def test_pngs_of_endless_chunks_end(tmp_path):
    content, _ = png_with(*[chunk(b"teXt", b"")] * 210_000, BESIDE["large profile"])
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadImage):
        images.read(str(tmp_path / "a.png"), 3)


def test_broken_exif_of_other_formats_is_a_missing_orientation(tmp_path):
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (16, 14), np.uint8))
    for ending, options in (("jpg", {"quality": 95}), ("webp", {"lossless": True})):
        image.save(tmp_path / f"a.{ending}", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", **options)
        assert images.read(str(tmp_path / f"a.{ending}"), 1).shape == (1, 16, 14)


# ---- orientation and links


@pytest.mark.parametrize("orientation", range(0, 10))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    pixels = np.random.default_rng(6).integers(0, 256, (6, 9), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turns = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels),
    }
    expected = turns.get(orientation, pixels)
    np.testing.assert_array_equal(images.read(str(tmp_path / "a.png"), 1)[0], expected)
    assert images.size(str(tmp_path / "a.png")) == expected.shape


def test_another_drive_is_elsewhere():
    assert images.leads_out("E:\\photos\\a.png", "D:\\photos", ntpath)
    assert images.leads_out("D:\\other\\a.png", "D:\\photos", ntpath)
    assert not images.leads_out("D:\\photos\\b\\a.png", "D:\\photos", ntpath)
