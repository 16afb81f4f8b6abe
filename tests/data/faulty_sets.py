"""Data sets with every kind of fault, three instances each, and what a checker has to say about them.

Each function writes a data set and returns its description and the expected (path, line, kind) of every defect.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.small_sets import write_picture, write_text

Expected = set[tuple[str, int, str]]
GOOD = "0 0.5 0.5 0.4 0.4"

# kind -> three rows that have it, each put on line 2 of a file of its own, after a good row.
YOLO_ROWS: dict[str, tuple[str | bytes, str | bytes, str | bytes]] = {
    "nul-byte": (b"0 0.5\x00 0.5 0.2 0.2", b"\x00", b"0 0.5 0.5 0.2 0.2\x00"),
    "binary": (b"\x89PNG\xff\xfe\x01", b"0 0.5 0.5 0.2 \xe9", b"0 0.5\x01 0.5 0.2 0.2"),
    "comment": ("# 1 0.5 0.5 0.2 0.2", "#", "// second part"),
    "blank-line": ("", "   ", "\t"),
    "column-count": ("0 0.5 0.5 0.2", "0 0.5 0.5 0.2 0.2 0.9", "0;0.5;0.5;0.2;0.2"),
    "polygon-odd": ("0 .1 .1 .2 .1 .2 .2 .3", "1 .1 .1 .2 .1 .2 .2 .3 .3 .4", "0 .1 .1 .2 .1 .2 .2 x"),
    "comma-separated": ("0,0.5,0.5,0.2,0.2", "0, 0.5,0.5, 0.2, 0.2", "1,.5,.5,.1,.1"),
    "decimal-comma": ("0 0,5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0,2", "1 0,1 0,2 0,3 0,4"),
    "hexadecimal": ("0 0x1p-1 0.5 0.2 0.2", "0x1 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0X0"),
    "underscore": ("0 0.5 0.5 0.2 0.2_5", "1_0 0.5 0.5 0.2 0.2", "0 0_1.5 0.5 0.2 0.2"),
    "nan": ("0 nan 0.5 0.2 0.2", "0 0.5 0.5 0.2 NaN", "nan 0.5 0.5 0.2 0.2"),
    "infinite": ("0 inf 0.5 0.2 0.2", "0 0.5 0.5 -Infinity 0.2", "0 0.5 0.5 0.2 1e999"),
    "not-a-number": ("0 0.5 0.5 0.2 wide", "0 0..5 0.5 0.2 0.2", "0 0.5 0.5 0.2 ٠"),
    "class-text": ("cat 0.5 0.5 0.2 0.2", "red_fox 0.5 0.5 0.2 0.2", "? 0.5 0.5 0.2 0.2"),
    "class-negative": ("-1 0.5 0.5 0.2 0.2", "-7 0.5 0.5 0.2 0.2", "-0.5 0.5 0.5 0.2 0.2"),
    "class-not-integer": ("1.5 0.5 0.5 0.2 0.2", "0.0001 0.5 0.5 0.2 0.2", "1e-3 0.5 0.5 0.2 0.2"),
    "class-range": ("3 0.5 0.5 0.2 0.2", "1000000000 0.5 0.5 0.2 0.2", "1e30 0.5 0.5 0.2 0.2"),
    "out-of-range": ("0 1.01 0.5 0.2 0.2", "0 0.5 -0.1 0.2 0.2", "0 .1 .1 .2 .1 1.2 .2"),
    "pixel-coordinates": ("0 20 15 8 6", "0 320.5 240.5 32 32", "1 300 0.5 0.2 12"),
    "zero-size": ("0 0.5 0.5 0 0", "0 0.5 0.5 0.2 0", "1 0.5 0.5 0.0 0.2"),
    "tiny": ("0 0.3 0.3 1e-9 1e-9", "0 0.3 0.3 0.02 0.3", "1 0.3 0.3 0.4 0.02"),
    "crosses-edge": ("0 0.05 0.5 0.4 0.2", "0 0.5 0.95 0.2 0.3", "1 0.9 0.5 0.9 0.9"),
    "duplicate": (GOOD, "0  0.50 .5\t0.4 4e-1", "0 0.5 0.5 0.4 0.40"),
    "near-duplicate": ("0 0.5 0.5 0.4 0.4001", "0 0.501 0.5 0.4 0.4", "0 0.5 0.499 0.401 0.4"),
    "same-box-two-classes": ("1 0.5 0.5 0.4 0.4", "2 0.5 0.5 0.4 0.4", "1 .5 .5 .4 .4"),
}


def write_faulty_yolo(root: Path) -> tuple[Path, Expected]:
    """Rows, label files and pictures."""
    expected: Expected = set()
    images, labels = root / "images", root / "labels"
    for kind, rows in YOLO_ROWS.items():
        for number, row in enumerate(rows):
            stem = f"{kind}-{number}"
            write_picture(images / f"{stem}.png")
            raw = row.encode() if isinstance(row, str) else row
            path = write_text(
                labels / f"{stem}.txt", GOOD.encode() + b"\n" + raw + b"\n1 0.25 0.25 0.1 0.2\n"
            )
            expected.add((str(path), 2, kind))
    for number in range(3):
        _write_faulty_label_files(root, number, expected)
        _write_faulty_pictures(root, number, expected)
    listing = [str(path.relative_to(root)) for path in sorted(images.rglob("*.*"))]
    listing += ["images/gone-0.png", "images/gone-1.png", "images/gone-2.png"]
    listing += ["images/notes.pdf", "images/table.csv", "images/README", *listing[:3]]
    list_file = write_text(root / "train.txt", "\n".join(listing) + "\n")
    first = listing.index("images/gone-0.png") + 1
    kinds = ["picture-missing"] * 3 + ["not-a-picture"] * 3 + ["picture-listed-twice"] * 3
    expected |= {(str(list_file), first + number, kind) for number, kind in enumerate(kinds)}
    expected |= {(str(labels / f"gone-{number}.txt"), 0, "no-label-file") for number in range(3)}
    return write_text(root / "data.yaml", "path: .\ntrain: train.txt\nnames: [cat, dog, bird]\n"), expected


def _write_faulty_label_files(root: Path, number: int, expected: Expected) -> None:
    content: dict[str, bytes] = {
        "byte-order-mark": b"\xef\xbb\xbf" + GOOD.encode(),
        "utf-16": (GOOD + "\r\n").encode(("utf-16", "utf-16-le", "utf-16")[number]),
        "polygon": b"0 .1 .1 .3 .1 .3 .3\n1 .5 .5 .9 .5 .9 .9 .5 .9\n",
    }
    for kind, raw in content.items():
        write_picture(root / "images" / f"{kind}-{number}.png")
        path = write_text(root / "labels" / f"{kind}-{number}.txt", raw)
        expected.add((str(path), 1, kind))
    for kind in ("label-is-folder", "label-too-large", "no-label-file"):
        write_picture(root / "images" / f"{kind}-{number}.png")
        expected.add((str(root / "labels" / f"{kind}-{number}.txt"), 0, kind))
    (root / "labels" / f"label-is-folder-{number}.txt").mkdir()
    write_text(root / "labels" / f"label-too-large-{number}.txt", b"0 .5 .5 .2 .2\n" * 300_000)


def _write_faulty_pictures(root: Path, number: int, expected: Expected) -> None:
    images = root / "images"
    small = ((30, 9), (9, 30), (1, 1))[number]
    write_picture(images / f"small-{number}.png", width=small[0], height=small[1])
    write_text(images / f"text-{number}.jpg", (b"", b"hello", b"\xff\xd8\xff\xe0 no more")[number])
    whole = write_picture(images / f"cut-{number}.jpg", width=300, height=200).read_bytes()
    write_text(images / f"cut-{number}.jpg", whole[: len(whole) - 1 - 99 * number])
    for stem, suffix, kind in (
        ("small", "png", "picture-too-small"),
        ("text", "jpg", "picture-unreadable"),
        ("cut", "jpg", "picture-unreadable"),
    ):
        write_text(root / "labels" / f"{stem}-{number}.txt", GOOD)
        expected.add((str(images / f"{stem}-{number}.{suffix}"), 0, kind))


def write_faulty_coco(root: Path) -> tuple[Path, Expected]:
    """Records of images and annotations, one a line."""
    good = {"image_id": 1, "category_id": 7, "bbox": [5, 5, 20, 20]}
    annotations: list[tuple[str, object]] = [("", good)]

    def add(kind: str, *records: object) -> None:
        annotations.extend(
            (kind, {**good, **record} if isinstance(record, dict) else record) for record in records
        )

    add("image-unknown", {"image_id": 99}, {"image_id": "x"}, {"image_id": None})
    add("class-unknown", {"category_id": 6}, {"category_id": "7"}, {"category_id": [7]})
    add("missing-field", 5, None, {"bbox": None})
    add("bbox-length", {"bbox": [1, 2, 3]}, {"bbox": []}, {"bbox": {"x": 1}})
    add("not-a-number", {"bbox": [1, 2, "3", 4]}, {"bbox": [None, 2, 3, 4]}, {"bbox": [1, 2, 3, True]})
    add("nan", *({"bbox": [float("nan"), 2, 3, 4 + number]} for number in range(3)))
    add(
        "infinite",
        {"bbox": [float("inf"), 2, 3, 4]},
        {"bbox": [1, 2, 3, 1e300]},
        {"bbox": [10**400, 2, 3, 4]},
    )
    add("zero-size", {"bbox": [5, 5, 0, 0]}, {"bbox": [5, 5, 4, 0]}, {"bbox": [5, 5, 0, 4]})
    add("inverted", {"bbox": [5, 5, -4, 4]}, {"bbox": [5, 5, 4, -4]}, {"bbox": [5, 5, -4, -4]})
    add("outside", {"bbox": [40, 5, 4, 4]}, {"bbox": [-9, 5, 4, 4]}, {"bbox": [5, 30, 4, 4]})
    add("relative-coordinates", *({"bbox": [0.1, 0.2, 0.3, 0.1 * number]} for number in (1, 2, 3)))
    add("tiny", *({"bbox": [2 + 3 * number, 5, 0.5, 4]} for number in range(3)))
    add("crosses-edge", {"bbox": [35, 2, 9, 4]}, {"bbox": [-2, 9, 9, 4]}, {"bbox": [10, 26, 9, 9]})
    add("duplicate", {}, {"id": 7}, {"area": 3})
    images: list[tuple[str, object]] = [("", {"id": 1, "file_name": "a.png", "width": 40, "height": 30})]
    for number in range(3):
        images.append(("picture-missing", {"id": 10 + number, "file_name": f"gone-{number}.png"}))
        images.append(("image-id-twice", {"id": 1, "file_name": f"b{number}.png"}))
        images.append(("picture-listed-twice", {"id": 20 + number, "file_name": "a.png"}))
        images.append(("image-record", ({"id": 5}, {"file_name": "x.png"}, "x.png")[number]))
        name = write_picture(root / "images" / f"c{number}.png").name
        images.append(
            ("size-mismatch", {"id": 30 + number, "file_name": name, "width": 30 + number, "height": 40})
        )
    write_picture(root / "images" / "a.png")
    lines = ['{"categories": [{"id": 7, "name": "cat"}],', '"images": [']
    expected: set[tuple[int, str]] = set()
    for name, records in (("images", images), ("annotations", annotations)):
        for position, (kind, record) in enumerate(records):
            lines.append(json.dumps(record) + ("," if position + 1 < len(records) else ""))
            expected.add((len(lines), kind))
        lines.append('], "annotations": [' if name == "images" else "]}")
    path = write_text(root / "boxes.json", "\n".join(lines))
    yaml = "format: coco\ntrain: {images: images, annotations: boxes.json}\n"
    return write_text(root / "data.yaml", yaml), {(str(path), line, kind) for line, kind in expected if kind}


def voc_object(
    name: str = "cat", corners: str = "<xmin>6</xmin><ymin>6</ymin><xmax>25</xmax><ymax>25</ymax>"
) -> str:
    """An object on one line."""
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def voc_file(*objects: str, head: str = "<size><width>40</width><height>30</height></size>") -> str:
    """An annotation whose objects start on line 3."""
    return "\n".join(["<annotation>", head, *objects, "</annotation>"])


def write_faulty_voc(root: Path) -> tuple[Path, Expected]:
    """Objects and annotation files."""
    corner = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>".format
    objects: dict[str, tuple[str, str, str]] = {
        "class-unknown": (voc_object("fox"), voc_object("Cat"), voc_object("0")),
        "missing-tag": (
            voc_object(""),
            voc_object(corners="<xmin>6</xmin>"),
            "<object><name>cat</name></object>",
        ),
        "not-a-number": (
            voc_object(corners=corner("a", 1, 9, 9)),
            voc_object(corners=corner(1, 1, "9 9", 9)),
            "<object><name>cat</name><difficult>maybe</difficult><bndbox>"
            + corner(2, 2, 9, 9)
            + "</bndbox></object>",
        ),
        "decimal-comma": tuple(voc_object(corners=corner(f"{number},5", 1, 9, 9)) for number in (1, 2, 3)),
        "zero-size": tuple(voc_object(corners=corner(x, 7, x, 7)) for x in (3, 8, 20)),
        "inverted": tuple(voc_object(corners=corner(20, 7, x, 12)) for x in (3, 8, 12)),
        "outside": tuple(voc_object(corners=corner(41, 7, x, 12)) for x in (43, 48, 52)),
        "crosses-edge": tuple(voc_object(corners=corner(20, 7, x, 12)) for x in (43, 48, 52)),
        "duplicate": (voc_object(), voc_object(), voc_object(" cat ")),
    }
    files = {
        "xml-malformed": ("<annotation><object></annotation>", "hello", "<html></html>"),
        "xml-doctype": tuple(
            f'<!DOCTYPE annotation [<!ENTITY a "{"x" * number}">]><annotation>&a;</annotation>'
            for number in (1, 2, 3)
        ),
        "filename-mismatch": tuple(
            voc_file(voc_object(), head=f"<filename>{name}</filename>") for name in ("b.png", "x/y.png", "z")
        ),
        "size-mismatch": tuple(
            voc_file(voc_object(), head=f"<size><width>{width}</width><height>30</height></size>")
            for width in (30, 41, 4000)
        ),
    }
    line_of = {"xml-malformed": 1, "xml-doctype": 1, "filename-mismatch": 2, "size-mismatch": 2}
    expected: Expected = set()
    for kind, three in objects.items():
        for number, text in enumerate(three):
            path = write_text(root / "xml" / f"{kind}-{number}.xml", voc_file(voc_object(), text))
            expected.add((str(path), 4, kind))
    for kind, texts in files.items():
        for number, text in enumerate(texts):
            path = write_text(root / "xml" / f"{kind}-{number}.xml", text)
            expected.add((str(path), line_of[kind], kind))
    for path in sorted((root / "xml").iterdir()):
        write_picture(root / "images" / f"{path.stem}.png")
    for number in range(3):
        path = write_text(root / "xml" / f"gone-{number}.xml", voc_file(voc_object()))
        expected.add((str(path), 1, "picture-missing"))
        write_picture(root / "images" / f"bare-{number}.png")
        expected.add((str(root / "xml" / f"bare-{number}.xml"), 0, "no-label-file"))
    yaml = "format: voc\ntrain: {images: images, annotations: xml}\nnames: [cat]\n"
    return write_text(root / "data.yaml", yaml), expected


def write_faulty_csv(root: Path) -> tuple[Path, Expected]:
    """Rows of one file; every row that is sound but doubtful gets a picture of its own."""
    rows: list[tuple[str, str]] = [("", "a.png,40,30,cat,5,5,25,25,0")]

    def add(kind: str, *texts: str) -> None:
        rows.extend((kind, text) for text in texts)

    add("column-count", "a.png,40,30,cat,5,5,25", "a.png", "a.png,40,30,cat,5,5,25,25,0,9")
    add(
        "class-unknown",
        "a.png,40,30,fox,5,5,25,25,0",
        "a.png,40,30,,5,5,25,25,0",
        "a.png,40,30,Cat,5,5,25,25,0",
    )
    add(
        "not-a-number",
        "a.png,40,30,cat,x,5,25,25,0",
        "a.png,40,30,cat,5,,25,25,0",
        "a.png,40,30,cat,5,5,25,25,?",
    )
    add(
        "nan",
        "a.png,40,30,cat,nan,5,25,25,0",
        "a.png,40,30,cat,5,NAN,25,25,0",
        "a.png,40,30,cat,5,5,25,-nan,0",
    )
    add("missing-field", *(f",40,30,cat,5,5,{25 + number},25,0" for number in range(3)))
    add("zero-size", *(f"a.png,40,30,cat,{x},9,{x},9,0" for x in (5, 6, 7)))
    add("inverted", *(f"a.png,40,30,cat,{x},5,2,9,0" for x in (5, 6, 7)))
    add("outside", *(f"a.png,40,30,cat,50,5,{x},9,0" for x in (55, 56, 57)))
    add("relative-coordinates", *(f"a.png,40,30,cat,0.1,0.1,0.{x},0.9,0" for x in (5, 6, 7)))
    add("duplicate", *(["a.png,40,30,cat,5,5,25,25,0"] * 3))
    add("picture-missing", *(f"gone-{number}.png,40,30,cat,5,5,25,25,0" for number in range(3)))
    add("size-mismatch", *(f"b{number}.png,30,40,cat,5,5,25,25,0" for number in range(3)))
    add("csv-malformed", *('a.png,40,30,"cat"x,5,5,25,25,0' for _ in range(3)))
    for name in ("a", "b0", "b1", "b2"):
        write_picture(root / "images" / f"{name}.png")
    header = "filename,width,height,class,xmin,ymin,xmax,ymax,difficult"
    path = write_text(root / "boxes.csv", "\r\n".join([header, *(text for _, text in rows)]) + "\r\n")
    expected = {(str(path), line, kind) for line, (kind, _) in enumerate(rows, start=2) if kind}
    yaml = "format: csv\ntrain: {images: images, annotations: boxes.csv}\nnames: [cat]\n"
    return write_text(root / "data.yaml", yaml), expected
