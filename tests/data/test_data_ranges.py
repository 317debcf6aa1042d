import errno
import http.client
import os
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shard_server import serving
from sightline.core.errors import DataError, PictureError
from sightline.data import ranges, web
from sightline.data.pictures import read_header, read_picture
from sightline.data.ranges import Ahead, RangeFile, Stored, UnreachableError, ranges_of, shown
from sightline.data.web import fetched

BLOB = bytes(range(256)) * 40


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.001)
    monkeypatch.setattr(web, "BLOCK", 0)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.files["/a.bin"] = BLOB
        server.tags["/a.bin"] = '"one"'
        yield server


@pytest.fixture(params=["file", "url"])
def source(request, tmp_path, served):
    (tmp_path / "a.bin").write_bytes(BLOB)
    return ranges_of(str(tmp_path / "a.bin") if request.param == "file" else f"{served.url}/a.bin")


@pytest.mark.parametrize(
    ("start", "size"), [(0, 0), (0, 1), (5, 300), (10_000, 10_000), (10_239, 1), (10_240, 5), (20_000, 1)]
)
def test_bytes_by_position(source, start, size):
    assert source.size == len(BLOB)
    assert source.read(start, size) == BLOB[start : start + size]


def test_many_threads_read_at_once(source):
    wrong = []

    def work(number):
        for at in range(number, 5000, 997):
            if source.read(at, 100) != BLOB[at : at + 100]:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_reading_ahead_asks_once_a_block(served):
    ahead = Ahead(ranges_of(f"{served.url}/a.bin"), 1000)
    before = len(served.asked)
    found = [ahead.read(at, 50) for at in range(0, 2000, 50)]
    assert b"".join(found) == BLOB[:2000] and len(served.asked) - before == 2
    assert ahead.read(10_200, 100) == BLOB[10_200:] == ahead.read(10_200, 100)
    assert len(served.asked) - before == 3


def test_a_url_read_from_front_to_back_is_fetched_in_blocks(served, monkeypatch):
    monkeypatch.setattr(web, "BLOCK", 3000)
    monkeypatch.setattr(web, "_GAP", 200)
    source = ranges_of(f"{served.url}/a.bin")
    served.asked.clear()
    assert [source.read(at, 90) for at in range(0, 10_000, 100)] == [BLOB[at : at + 90] for at in range(0, 10_000, 100)]
    assert [span for _, span, _ in served.asked] == [
        *("bytes=0-2999", "bytes=3000-5999", "bytes=6000-8999", "bytes=9000-10239"),
    ]
    served.asked.clear()
    assert ranges_of(f"{served.url}/a.bin").read(9100, 50) == BLOB[9100:9150] and len(served.asked) == 1
    served.tags["/a.bin"] = '"two"'
    source = ranges_of(f"{served.url}/a.bin")
    served.asked.clear()
    for at in (9000, 4000, 7000, 300):
        assert source.read(at, 90) == BLOB[at : at + 90]
    assert [span for _, span, _ in served.asked] == [f"bytes={at}-{at + 89}" for at in (9000, 4000, 7000, 300)]


def test_threads_that_read_a_url_together_share_its_blocks(served, monkeypatch):
    monkeypatch.setattr(web, "BLOCK", 3000)
    source = ranges_of(f"{served.url}/a.bin")
    served.asked.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: source.read(at, 20), range(0, 10_000, 20)))
    assert found == [BLOB[at : at + 20] for at in range(0, 10_000, 20)]
    assert len(served.asked) < 100  # 4 where threads never overtake each other


def test_ranges_as_a_file(source):
    file = RangeFile(source)
    assert file.seek(-10, os.SEEK_END) == file.tell() == len(BLOB) - 10
    assert file.read() == BLOB[-10:] and file.read(5) == b""
    file.seek(3)
    buffer = bytearray(7)
    assert file.readinto(buffer) == 7 and buffer == BLOB[3:10] and file.seek(2, os.SEEK_CUR) == 12


def descriptors():
    """How many this process has open, where the system says."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else None


def test_no_more_than_a_few_files_stay_open(tmp_path):
    for number in range(100):
        (tmp_path / f"{number}").write_bytes(b"%d" % number)
    sources = [ranges_of(str(tmp_path / f"{number}")) for number in range(100)]
    before = descriptors()
    assert [source.read(0, 9) for source in sources * 2] == [b"%d" % number for number in range(100)] * 2
    if before is not None:
        assert descriptors() - before <= ranges._OPEN


def test_a_file_that_changed_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    source = ranges_of(str(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(OSError, match="has changed"):
        source.read(0, 2)
    with pytest.raises(FileNotFoundError):
        ranges_of(str(tmp_path / "b"))


def test_dropped_connections_and_passing_trouble_are_tried_again(served):
    source = ranges_of(f"{served.url}/a.bin")
    served.faults = ["drop", 503, 429, "drop"]
    assert source.read(100, 1000) == BLOB[100:1100]
    served.faults = ["drop"] * 9
    with pytest.raises(OSError, match="broke off after 500 of 1,000 bytes"):
        source.read(100, 1000)
    assert len(served.faults) == 9 - web.TRIES


@pytest.mark.parametrize(
    ("error", "said"),
    [(ssl.SSLError(1, "cut off"), "cut off"), (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host")],
)
def test_what_breaks_in_the_middle_of_an_answer_is_tried_again(served, monkeypatch, error, said):
    source, read = ranges_of(f"{served.url}/a.bin"), http.client.HTTPResponse.read
    left = [error, error]
    monkeypatch.setattr(http.client.HTTPResponse, "read", lambda reply, size: broken(left) or read(reply, size))
    assert source.read(100, 50) == BLOB[100:150] and left == []
    left += [error] * web.TRIES
    with pytest.raises(UnreachableError, match=f"cannot be read: .*{said}"):
        source.read(100, 50)


def broken(left):
    """Raise the next error that is left."""
    if left:
        raise left.pop()


@pytest.mark.parametrize(("fault", "said"), [(404, "there is none"), (403, "forbidden"), (410, "gone"), (418, "418")])
def test_what_will_not_pass_is_not_tried_again(served, fault, said):
    served.faults = [fault] * 9
    with pytest.raises(OSError, match=said):
        ranges_of(f"{served.url}/a.bin")
    assert len(served.faults) == 8


def test_a_server_without_ranges_is_refused(served):
    served.ranges = False
    with pytest.raises(OSError, match=r"gives no parts of files.*download it first"):
        ranges_of(f"{served.url}/a.bin")


def test_an_empty_file_at_a_url(served):
    served.files["/empty"] = b""
    with pytest.raises(OSError, match="it is empty"):
        ranges_of(f"{served.url}/empty")


@pytest.mark.parametrize("change", ["tag", "longer", "shorter"])
def test_a_url_that_changed_is_an_error(served, change):
    source = ranges_of(f"{served.url}/a.bin")
    if change == "tag":
        served.tags["/a.bin"] = '"two"'
    else:
        served.files["/a.bin"] = BLOB + b"!" if change == "longer" else BLOB[:5000]
    with pytest.raises(OSError, match="has changed"):
        source.read(8000, 100)


def test_nobody_listens():
    with serving() as server:
        url = server.url
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="refused"):
        patch.setattr(web, "PAUSE", 0)
        ranges_of(f"{url}/a.bin")


def test_a_login_is_sent_and_never_shown_nor_passed_on(served):
    served.login = "Basic bWU6c2VjcmV0"
    source = ranges_of(served.url.replace("://", "://me:secret@") + "/a.bin?key=1")
    assert source.read(0, 5) == BLOB[:5] and "secret" not in source.name and "key" not in source.name
    served.login = "Basic other"
    with pytest.raises(OSError, match="wants a login") as caught:
        source.read(0, 5)
    assert "secret" not in str(caught.value) and "key=1" not in str(caught.value)
    served.login, served.moved["/b.bin"] = "", f"{served.url}/a.bin"
    served.asked.clear()
    assert ranges_of(served.url.replace("://", "://me:secret@") + "/b.bin").size == len(BLOB)
    assert [(path, login != "") for path, _, login in served.asked] == [("/b.bin", True), ("/a.bin", False)]


def test_small_files_are_fetched_or_not_there(served):
    served.faults = [500]
    assert fetched(f"{served.url}/a.bin", most=100) == BLOB[:100]
    assert fetched(f"{served.url}/a.bin", most=99_999) == BLOB
    assert fetched(f"{served.url}/none", most=100) is None
    served.faults = [403]
    assert fetched(f"{served.url}/a.bin", most=100) is None
    served.faults = [401]
    with pytest.raises(OSError, match="wants a login"):
        fetched(f"{served.url}/a.bin", most=100)


def test_a_stored_picture_is_read_like_a_file(tmp_path):
    stored = Stored("a.tar/1.png", "1.png", lambda: b"no picture")
    assert stored.read(2) == b"no" == stored.read(2) and stored.read() == b"no picture"
    for reader in (read_picture, read_header):
        with pytest.raises(PictureError, match=r"a\.tar/1\.png: .*text, not a picture"):
            reader(stored)


@pytest.mark.parametrize("call", ["open", "pread"])
@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EIO])
@pytest.mark.skipif(not hasattr(os, "pread"), reason="read in another way here")
def test_a_file_out_of_reach_is_no_fault_of_the_pictures_in_it(tmp_path, monkeypatch, call, number):
    def fail(*given):
        raise OSError(number, os.strerror(number))

    (tmp_path / "a.tar").write_bytes(BLOB)
    source = ranges_of(str(tmp_path / "a.tar"))
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DataError, match=rf"a\.tar cannot be read: {os.strerror(number)}") as told:
        read_picture(Stored("a.tar/1.png", "1.png", lambda: source.read(0, 5)))
    assert not isinstance(told.value, PictureError)  # which would be left out


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("webdataset:https://u:p@h/a-{0..9}.tar?s=1#x", "webdataset:https://h/a-{0..9}.tar"),
        ("HTTP://u@h/a", "http://h/a"),
        ("C:\\a", "C:\\a"),
        ("a?b", "a?b"),
    ],
)
def test_what_is_shown(text, plain):
    assert shown(text) == plain
