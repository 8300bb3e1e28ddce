"""Messages of scanners, cameras and range sensors as points; what is malformed or sees less than before is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from zone_parts import BOX, CLOUD, SCAN, TOOL, arm, judged, scan

from fosp_core.errors import UserError
from fosp_core.robot.protective import ZoneSourceConfig
from fosp_safety_monitor.zones.decoding import SourceDecoder


def decoder(**changes) -> SourceDecoder:
    return SourceDecoder(ZoneSourceConfig(**{**SCAN, **changes}))


def test_a_scan_becomes_points_where_its_beams_end_in_the_action_frame():
    read = decoder(position=[0.1, 0.0, 0.2], rotation=[0.0, 0.0, math.pi / 2]).read(scan([1.0, 2.0, 3.0, 4.0]))
    assert read.points.tolist() == pytest.approx(
        np.array([[0.1, 1.0, 0.2], [-1.9, 0.0, 0.2], [0.1, -3.0, 0.2], [4.1, 0.0, 0.2]]), abs=1e-5
    )


def test_a_scan_means_by_its_special_values_what_rep_117_says():
    read = decoder().read(scan([-math.inf, math.inf, math.nan, 1.0, 6.0, 0.0, -1.0, 0.01]))
    assert (len(read.points), read.near, read.unknown, read.count) == (2, 1, 4, 8)
    assert len(read.rays) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranges": np.zeros(0, np.float32)}, "0 readings"),
        ({"ranges": np.ones(3, np.float32)}, "3 ranges"),
        ({"angle_increment": 0.0}, "no sense"),
        ({"angle_increment": math.nan}, "no sense"),
        ({"range_max": math.nan}, "no sense"),
        ({"range_min": -1.0}, "no sense"),
        ({"range_min": 6.0}, "no sense"),
        ({"header": SimpleNamespace(frame_id="other")}, "frame 'other'"),
    ],
)
def test_a_malformed_scan_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        decoder().read(scan([1.0] * 8, **changes))


def cloud(points, **changes):
    data = np.array(points, np.float32)
    fields = [SimpleNamespace(name=n, offset=4 * i, datatype=7) for i, n in enumerate("xyz")]
    message = {
        "header": SimpleNamespace(frame_id="camera"),
        "width": len(points),
        "height": 1,
        "point_step": 12,
        "row_step": 12 * len(points),
        "fields": fields,
        "is_bigendian": False,
        "data": data.tobytes(),
    }
    return SimpleNamespace(**{**message, **changes})


def test_a_cloud_becomes_its_finite_points_and_the_others_are_unknown():
    read = SourceDecoder(ZoneSourceConfig(**CLOUD)).read(cloud([[1, 2, 3], [math.nan, 0, 0], [0, math.inf, 0]]))
    assert read.points.tolist() == pytest.approx(np.array([[1, 2, 3.1]]), abs=1e-6)
    assert (read.unknown, read.count, read.rays) == (2, 3, None)


def test_a_cloud_of_padded_rows_in_the_other_byte_order_is_read_like_any_other():
    points = np.arange(12, dtype=">f4").reshape(2, 2, 3)
    row = b"".join(point.tobytes() + b"\xff" * 4 for point in points[0]) + b"\xff" * 8
    other = b"".join(point.tobytes() + b"\xff" * 4 for point in points[1]) + b"\xff" * 8
    message = cloud([[0, 0, 0]], width=2, height=2, point_step=16, row_step=40, is_bigendian=True, data=row + other)
    read = SourceDecoder(ZoneSourceConfig(**{**CLOUD, "position": [0, 0, 0]})).read(message)
    assert read.points.tolist() == points.reshape(-1, 3).tolist()


def test_points_of_a_cloud_in_the_sensor_itself_are_unknown_as_zero_distances_are():
    blind = SourceDecoder(ZoneSourceConfig(**CLOUD)).read(cloud([[0, 0, 0], [0, -0.0, 0], [1, 2, 3]]))
    assert (len(blind.points), blind.unknown, blind.count) == (1, 2, 3)
    robot = arm({**BOX, "unknown": "ignore"})
    seen = SourceDecoder(robot.sources[0]).read(cloud(np.zeros((100, 3))))
    assert "is blind: 100 % of 100" in judged(robot, seen, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), TOOL).text


def fields_at(**offsets):
    return [SimpleNamespace(name=name.strip("_"), offset=offset, datatype=7) for name, offset in offsets.items()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fields": fields_at(x=0, y=0, z=0)}, "overlap, at the bytes 0, 0, 0"),
        ({"fields": fields_at(x=0, y=4, z=6)}, "overlap"),
        ({"fields": fields_at(x=0, y=4, z=8, x_=8)}, "each of them once"),
        ({"data": b"\0" * 11}, "11 bytes"),
        ({"row_step": 4}, "do not fit"),
        ({"width": 0, "row_step": 0, "data": b""}, "0 readings"),
        ({"width": 1 << 31}, "readings"),
        ({"fields": []}, "no fields x, y and z"),
        ({"point_step": 8}, "do not fit"),
    ],
)
def test_a_malformed_cloud_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        SourceDecoder(ZoneSourceConfig(**CLOUD)).read(cloud([[1, 2, 3]], **changes))


DEPTH = {**SCAN, "type": "Depth", "info_topic": "info", "position": [0.0, 0.0, 0.0], "stride": 1}


def depth(image, encoding="16UC1", **changes):
    fields = {
        "header": SimpleNamespace(frame_id="laser"),
        "width": image.shape[1],
        "height": image.shape[0],
        "step": image.strides[0],
        "encoding": encoding,
        "is_bigendian": False,
        "data": image.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


def lens(width=4, height=2, focal=2.0, model="plumb_bob", d=()):
    k = [focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1]
    header = SimpleNamespace(frame_id="laser")
    return SimpleNamespace(header=header, width=width, height=height, k=k, distortion_model=model, d=list(d))


def of_depth(**changes) -> SourceDecoder:
    reader = SourceDecoder(ZoneSourceConfig(**{**DEPTH, **changes}))
    reader.take_info(lens())
    return reader


def test_depth_in_millimetres_and_in_metres_gives_the_same_points():
    metres = np.array([[1.0, 2.0, 0.0, 1.0], [1.0, 1.0, 1.0, 3.0]], np.float32)
    read = of_depth().read(depth(metres, "32FC1"))
    same = of_depth().read(depth((1000 * metres).astype(np.uint16)))
    assert same.points.tolist() == pytest.approx(read.points)
    assert read.points[0].tolist() == pytest.approx([-0.75, -0.25, 1.0])
    assert (read.unknown, same.unknown, read.count) == (1, 1, 8)


def test_depth_means_by_its_special_values_what_rep_118_says():
    image = np.array([[-math.inf, math.inf, math.nan, 1.0], [-1.0, 0.0, 2.0, 2.0]], np.float32)
    read = of_depth().read(depth(image, "32FC1"))
    assert (len(read.points), read.near, read.unknown) == (3, 1, 3)


def test_a_camera_may_look_anywhere():
    read = of_depth(rotation=[-math.pi / 2, 0.0, -math.pi / 2], stride=2).read(depth(np.full((2, 4), 1000, np.uint16)))
    assert read.points[:, 0].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 3}, "camera_info"),
        ({"encoding": "rgb8"}, "encoding 'rgb8'"),
        ({"data": b"\0" * 3}, "3 bytes"),
        ({"step": 2}, "do not fit"),
        ({"step": 20, "data": b"\0" * 40}, "rows of 20 bytes, 4 pixels of 16UC1 take 8"),
        ({"encoding": "32FC1", "step": 16, "data": np.full((2, 4), 700, np.float32).tobytes()}, "must be in m"),
    ],
)
def test_a_malformed_depth_image_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        of_depth().read(depth(np.ones((2, 4), np.uint16), **changes))


def test_depth_without_a_sound_camera_info_is_refused():
    reader = SourceDecoder(ZoneSourceConfig(**DEPTH))
    with pytest.raises(UserError, match="before a sound camera_info"):
        reader.read(depth(np.ones((2, 4), np.uint16)))
    for wrong in (lens(width=0), lens(focal=0.0), lens(focal=math.nan)):
        with pytest.raises(UserError, match="camera_info"):
            reader.take_info(wrong)


def test_a_camera_info_that_no_lens_has_is_refused_and_leaves_none():
    for change, told in (
        ({2: 0.0, 5: 0.0}, "optical centre outside of the image, at 0, 0"),
        ({2: 640.0}, "optical centre outside"),
        ({0: 1.0, 4: 1.0}, "focal lengths of 1 and 1 pixels at 640 x 480"),
        ({0: 1e6, 4: 1e6}, "focal lengths of 1e[+]06"),
        ({4: 1300.0}, "contradict each other, 600 and 1300"),
    ):
        reader = SourceDecoder(ZoneSourceConfig(**DEPTH))
        info = lens(640, 480)
        info.k[0] = info.k[4] = 600.0
        info.k[2], info.k[5] = 320.0, 240.0
        reader.take_info(info)
        for place, value in change.items():
            info.k[place] = value
        with pytest.raises(UserError, match=told):
            reader.take_info(info)
        with pytest.raises(UserError, match="before a sound camera_info"):
            reader.read(depth(np.ones((480, 640), np.uint16)))


def test_the_distortion_of_a_lens_is_undone_and_one_of_an_unknown_model_is_refused():
    reader = SourceDecoder(ZoneSourceConfig(**DEPTH))
    reader.take_info(lens(d=(0.2, 0.0, 0.0, 0.0, 0.0)))
    x, y, _ = reader.read(depth(np.full((2, 4), 1000, np.uint16))).points[0]
    grown = 1.0 + 0.2 * (x * x + y * y)
    assert (x * grown, y * grown) == pytest.approx((-0.75, -0.25), abs=1e-4)
    reader.take_info(lens(model="equidistant", d=(0.0,) * 4))
    for wrong in (lens(model="equidistant", d=(0.1, 0.0, 0.0, 0.0)), lens(d=(math.nan,) * 5)):
        with pytest.raises(UserError, match="publish rectified depth"):
            reader.take_info(wrong)


def ranging(distance, width):
    header = SimpleNamespace(frame_id="laser")
    return SimpleNamespace(header=header, range=distance, field_of_view=width, min_range=0.02, max_range=3.0)


def test_a_range_sensor_sees_across_its_whole_cone():
    message = ranging(0.5, 0.5)
    reader = SourceDecoder(ZoneSourceConfig(**{**SCAN, "type": "Range"}))
    points = reader.read(message).points
    assert np.linalg.norm(points - [0, 0, 0.1], axis=1) == pytest.approx(np.full(len(points), 0.5), abs=1e-5)
    assert points[:, 1].max() == pytest.approx(0.5 * math.sin(0.25), abs=1e-5)
    for value, near, unknown in ((-math.inf, True, False), (math.nan, False, True), (math.inf, False, False)):
        message.range = value
        read = reader.read(message)
        assert (bool(read.near), bool(read.unknown), len(read.points)) == (near, unknown, 0)


def test_the_greatest_float_is_no_distance():
    read = decoder().read(scan([3.4e38, 1.0]))
    assert (len(read.points), read.near, read.unknown) == (1, 0, 0)


@pytest.mark.parametrize(("range_max", "at"), [(0.5, 0.8), (5.0, 6.0)])
def test_a_distance_beyond_range_max_is_a_point_where_it_says_and_not_free(range_max, at):
    read = decoder().read(scan([at, math.inf], range_max=range_max))
    assert np.linalg.norm(read.points - np.array(SCAN.get("position", (0.0, 0.0, 0.0))), axis=1) == pytest.approx([at])
    assert (read.near, read.unknown, read.count) == (0, 0, 2)


def fan(low, high, count):
    step = (high - low) / (count - 1)
    return scan([1.0] * count, angle_min=low, angle_increment=step, angle_max=high)


def test_a_scan_that_covers_less_than_it_did_is_refused_until_it_covers_as_much():
    reader = decoder()
    reader.read(fan(-1.5, 1.5, 100))
    reader.read(fan(-1.45, 1.5, 97))  # a beam or two, and a motor that is a bit slower
    for low, high in ((-1.5, 1.0), (-1.0, 1.5), (-0.5, 0.5)):
        with pytest.raises(UserError, match="a zone may be out of its view"):
            reader.read(fan(low, high, 100))
    with pytest.raises(UserError, match="has 8 beams per rad, and had 33"):
        reader.read(fan(-1.5, 1.5, 25))
    assert len(reader.read(fan(-1.6, 1.6, 105)).points) == 105
    with pytest.raises(UserError, match="covers 85, 85 degrees to its sides, and covered 92, 92"):
        reader.read(fan(-1.49, 1.49, 105))


def test_the_direction_of_a_scan_does_not_matter_to_what_it_covers():
    reader = decoder()
    reader.read(fan(-1.5, 1.5, 100))
    assert len(reader.read(fan(1.5, -1.5, 100)).points) == 100


def test_a_camera_or_range_sensor_whose_view_narrows_is_refused():
    camera = SourceDecoder(of_depth().config)
    camera.take_info(lens(focal=8.0, width=16, height=8))
    with pytest.raises(UserError, match="covers 25, 28, 12, 16 degrees to its sides, and covered 43, 47, 24, 29"):
        camera.take_info(lens(focal=16.0, width=16, height=8))
    with pytest.raises(UserError, match="before a sound camera_info"):
        camera.read(depth(np.full((8, 16), 1000, np.uint16)))
    camera.take_info(lens(focal=16.0, width=32, height=16))  # the same view in more pixels
    sensor = SourceDecoder(ZoneSourceConfig(**{**SCAN, "type": "Range"}))
    sensor.read(ranging(0.5, 0.8))
    with pytest.raises(UserError, match="covers 11 degrees"):
        sensor.read(ranging(0.5, 0.4))


def test_a_camera_info_of_another_lens_or_of_another_camera_is_refused_and_leaves_none():
    camera = SourceDecoder(of_depth().config)
    camera.take_info(lens(focal=16.0, width=16, height=8))
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"covers 43, 47, 24, 29 degrees .* and covered 25, 28, 12, 16: it is of another"
        ):
            camera.take_info(lens(focal=8.0, width=16, height=8))
        with pytest.raises(UserError, match="before a sound camera_info"):
            camera.read(depth(np.full((8, 16), 1000, np.uint16)))
    other = lens(focal=16.0, width=16, height=8)
    other.header.frame_id = "colour"
    with pytest.raises(UserError, match="in frame 'colour', and not in 'laser': is it that of another camera"):
        camera.take_info(other)
    camera.take_info(lens(focal=16.0, width=16, height=8))
    assert len(camera.read(depth(np.full((8, 16), 1000, np.uint16))).points) == 128


def test_distances_of_another_unit_than_metres_are_refused():
    walls = np.linspace(500.0, 3000.0, 90)
    with pytest.raises(UserError, match=r"shows distances of 17.. m: they must be in m"):
        decoder().read(scan([*walls, math.inf, 0.0], range_max=12000.0))
    with pytest.raises(UserError, match="they must be in m"):
        decoder().read(scan([500.0, 1200.0, *[9999.0] * 90], range_max=12000.0))
    with pytest.raises(UserError, match="they must be in m"):
        SourceDecoder(ZoneSourceConfig(**CLOUD)).read(cloud([[400, 20, 300], [900, -80, 20], [0, 700, 0], [0, 0, 0]]))
    ranger = ranging(350.0, 0.4)
    ranger.max_range = 2000.0
    with pytest.raises(UserError, match="max_range of 2000 m"):
        SourceDecoder(ZoneSourceConfig(**{**SCAN, "type": "Range"})).read(ranger)


def test_numbers_that_stand_for_nothing_are_no_other_unit():
    for nothing in (65.535, 655.35, 9999.0):
        assert decoder().read(scan([*[nothing] * 90, 0.5, 2.0])).count == 92
        assert decoder().read(scan([nothing] * 90)).count == 90
