"""Weights of the Hub: what is downloaded, what is refused, and what works without a network."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import TOKEN, Answer, FakeHub, client_of, fake_hub
from in_memory import small_layer

import methods
from methods import pretrained
from methods.pretrained import download
from methods.pretrained.download import resolve
from methods.pretrained.reference import HubFile

REPOSITORY = "me/sae"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    site, tokens = small_layer()
    method = methods.create("random_dictionary", expansion_factor=2, k=3).fit(tokens, site)
    return method.save(tmp_path_factory.mktemp("weights") / "w.safetensors").read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        client_of(server, tmp_path / "cache", monkeypatch)
        yield server


def refused(reference: str = f"hf:{REPOSITORY}") -> str:
    with pytest.raises(methods.UserError) as error:
        pretrained.load(reference)
    message = str(error.value)
    assert len(message) < 700 and "\n" not in message and TOKEN not in message
    return message


def test_the_only_safetensors_file_is_downloaded_once(hub: FakeHub, weights: bytes) -> None:
    commit = hub.put(REPOSITORY, sae__safetensors=weights, README__md=b"#", old__bin=b"pickle")
    resolved = resolve(HubFile(REPOSITORY, None, None))
    assert (resolved.revision, resolved.file) == (commit, "sae.safetensors")
    assert resolved.path.read_bytes() == weights
    before = len(hub.requests)
    assert resolve(HubFile(REPOSITORY, None, None)) == resolved and len(hub.requests) == before
    assert not any(path.endswith(("old.bin", "README.md")) for _, path, _ in hub.requests)


def test_a_commit_and_a_file_can_be_named(hub: FakeHub, weights: bytes) -> None:
    first = hub.put(REPOSITORY, a__safetensors=weights)
    hub.put(REPOSITORY, b__safetensors=weights, a__safetensors=weights + b"")
    assert "2 safetensors files: name one of them" in refused()
    assert resolve(HubFile.of(f"hf:{REPOSITORY}/b.safetensors")).file == "b.safetensors"
    assert resolve(HubFile.of(f"hf:{REPOSITORY}@{first}")).revision == first
    assert "has no file or folder 'c.safetensors'" in refused(f"hf:{REPOSITORY}/c.safetensors")
    assert "has no revision 'v9'" in refused(f"hf:{REPOSITORY}@v9")
    hub.put(REPOSITORY, model__safetensors=weights)
    download._resolved.clear()
    assert resolve(HubFile.of(f"hf:{REPOSITORY}")).file == "model.safetensors"


def test_what_was_downloaded_is_used_without_a_network(
    hub: FakeHub, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.put(REPOSITORY, model__safetensors=weights)
    online = resolve(HubFile.of(f"hf:{REPOSITORY}"))
    download._resolved.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(HubFile.of(f"hf:{REPOSITORY}")) == online
    assert "HF_HUB_OFFLINE is set" in refused("hf:me/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # A port on which nothing listens.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert resolve(HubFile.of(f"hf:{REPOSITORY}")) == online
    message = refused("hf:me/other")
    assert "not in the cache" in message and "hf download me/other" in message


def test_a_repository_without_safetensors_is_refused(hub: FakeHub) -> None:
    hub.put(REPOSITORY, pytorch_model__bin=b"pickle")
    assert "has no safetensors file" in refused()
    assert "There is no repository hf:me/absent" in refused("hf:me/absent")
    assert not any("pytorch_model" in path for _, path, _ in hub.requests)


def info(commit: str = "a" * 40, **file: object) -> Answer:
    sibling = {"rfilename": "model.safetensors", **file}
    return Answer(200, json.dumps({"id": REPOSITORY, "sha": commit, "siblings": [sibling]}).encode())


INFO = f"GET /api/models/{REPOSITORY}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, b"<html>Log in</html>"), "does not answer as the Hugging Face Hub does"),
        (Answer(200, b"[1, 2]"), "does not answer as the Hugging Face Hub does"),
        (Answer(200, b'{"id": "me/sae", "siblings": "abc"}'), "does not answer as the Hugging Face Hub does"),
        (info("../../../evil"), "has no commit"),
        (info(rfilename="../../evil.safetensors"), "has no safetensors file"),
        (info(rfilename="/etc/evil.safetensors"), "has no safetensors file"),
        (info(rfilename="a\\..\\evil.safetensors"), "has no safetensors file"),
        (info(rfilename=7), "has no safetensors file"),
        (info(size=10**15), "larger than 8 GiB"),
        (info(size=-1), "larger than 8 GiB"),
        (Answer(500, f"oops {TOKEN}".encode()), "could not be downloaded"),
        (Answer(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}), "hf:me/sae"),
        (Answer(401, b"{}"), "asks for a login"),
        (Answer(403, b"{}", {"X-Error-Code": "GatedRepo"}), "is gated"),
    ],
)
def test_hostile_listings_end_in_one_sentence(hub: FakeHub, answer: Answer, expected: str) -> None:
    hub.answers[INFO] = answer
    assert expected in refused()


def test_a_file_of_another_content_is_refused_and_removed(hub: FakeHub, weights: bytes, tmp_path: Path) -> None:
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    other = bytes([weights[0] ^ 1]) + weights[1:]
    headers = {"ETag": '"abc"', "X-Repo-Commit": commit}
    for method in ("GET", "HEAD"):
        hub.answers[f"{method} /{REPOSITORY}/resolve/main/model.safetensors"] = Answer(200, other, headers)
    assert "SHA-256 differ" in refused()
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not [path for path in cached if path.read_bytes() == other]


FILE = f"/{REPOSITORY}/resolve/main/model.safetensors"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": '"../../../evil"'}, "the header etag has a form"),
        ({"ETag": '"/tmp/evil"'}, "the header etag has a form"),
        ({"X-Linked-ETag": '"/tmp/evil"'}, "the header x-linked-etag has a form"),
        ({"X-Repo-Commit": "../../evil"}, "a form that no hub gives"),
        ({"X-Repo-Commit": "a" * 40}, "changed while"),
        ({"X-Xet-Hash": "../../evil"}, "a form that no hub gives"),
        ({"Content-Encoding": "gzip"}, "compressed"),
        ({"X-Linked-Size": str(10**15)}, "larger than 8 GiB"),
        ({"Location": "file:///etc/passwd"}, "not of the web"),
    ],
)
def test_hostile_headers_name_no_files(
    hub: FakeHub, weights: bytes, headers: dict[str, str], expected: str, tmp_path: Path
) -> None:
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    status = 302 if "Location" in headers else 200
    hub.answers[f"HEAD {FILE}"] = Answer(status, b"", {"ETag": '"abc"', "X-Repo-Commit": commit, **headers})
    assert expected in refused()
    assert not list(tmp_path.rglob("evil*"))


def test_an_endless_file_is_stopped(hub: FakeHub, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    monkeypatch.setattr(download, "MOST_BYTES", 1 << 20)
    hub.answers[f"HEAD {FILE}"] = Answer(200, b"", {"ETag": '"abc"', "X-Repo-Commit": commit, "X-Linked-Size": "9999"})
    hub.answers[f"GET {FILE}"] = Answer(200, b"", {"ETag": '"abc"'}, stream=bytes(1 << 16))
    assert "largest file of weights" in refused()


def test_an_endless_list_of_files_is_stopped(hub: FakeHub, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_LISTING", 1 << 20)
    hub.answers[INFO] = Answer(200, b'{"siblings": [', stream=b'{"rfilename": "a.safetensors"}, ' * 1000)
    assert "The list of files of hf:me/sae is larger than 1 MiB" in refused()
    hub.answers[INFO] = Answer(200, b"[" * (2 << 20))
    assert "is larger than 1 MiB" in refused()


def test_an_endless_error_is_stopped(hub: FakeHub, weights: bytes) -> None:
    hub.put(REPOSITORY, model__safetensors=weights)
    hub.answers[INFO] = Answer(404, stream=b"x" * (1 << 16))
    assert "the text of an error has more than" in refused()
    del hub.answers[INFO]
    hub.answers[f"GET {FILE}"] = Answer(500, stream=b"x" * (1 << 16))
    assert "the text of an error has more than" in refused()


def test_a_bomb_is_not_unpacked(hub: FakeHub) -> None:
    packed = gzip.compress(b" " * 10_000_000)
    hub.answers[INFO] = Answer(200, packed, {"Content-Encoding": "gzip"})
    assert "compressed, which nobody asked for" in refused()


@pytest.mark.parametrize("header", ["ETag", "X-Repo-Commit"])
def test_headers_that_change_after_the_first_answer_name_no_files(
    hub: FakeHub, weights: bytes, header: str, tmp_path: Path
) -> None:
    """Whichever answer to the same request has them."""
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    for n_right in range(3):
        answers: Iterator[dict[str, str]] = iter([{}] * n_right)

        def answer(answers: Iterator[dict[str, str]] = answers) -> Answer:
            right = {"ETag": '"abc"', "X-Repo-Commit": commit}
            return Answer(200, b"", {**right, **next(answers, {header: "../../../evil"})})

        hub.answers[f"HEAD {FILE}"] = answer
        download._resolved.clear()
        with contextlib.suppress(methods.UserError):
            pretrained.load(f"hf:{REPOSITORY}")
        assert not list(tmp_path.rglob("evil*"))


def test_the_client_of_the_process_is_left_as_it_was(hub: FakeHub, weights: bytes) -> None:
    from huggingface_hub.utils import get_session

    before = get_session().event_hooks
    hub.put(REPOSITORY, model__safetensors=weights)
    resolve(HubFile.of(f"hf:{REPOSITORY}"))
    assert get_session().event_hooks == before


def test_a_redirect_elsewhere_gets_no_token_and_wrong_content_is_refused(hub: FakeHub, weights: bytes) -> None:
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    with fake_hub() as elsewhere:
        elsewhere.answers["GET /steal"] = Answer(200, b"x" * len(weights))
        away = elsewhere.url.replace("127.0.0.1", "localhost")
        headers = {"ETag": '"abc"', "X-Repo-Commit": commit, "Location": f"{away}/steal"}
        hub.answers[f"HEAD {FILE}"] = Answer(302, b"", headers)
        assert "SHA-256 differ" in refused()
        assert [path for _, path, _ in elsewhere.requests] == ["/steal"]
        assert not any(key.lower() == "authorization" for _, _, sent in elsewhere.requests for key in sent)
    assert any(TOKEN in sent.get("authorization", sent.get("Authorization", "")) for _, _, sent in hub.requests)


def with_header(weights: bytes, rename: tuple[str, str] = ("", ""), **changes: object) -> bytes:
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8 : 8 + length])
    inner = {**json.loads(header["__metadata__"]["harness"]), **changes}
    content = {**header, "__metadata__": {"harness": json.dumps(inner)}}
    text = json.dumps({rename[1] if key == rename[0] else key: value for key, value in content.items()}).encode()
    return struct.pack("<Q", len(text)) + text + weights[8 + length :]


DAMAGED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("is of no known format of weights", lambda weights: b"<html></html>"),
    ("is of no known format of weights", lambda weights: weights[:100]),
    ("is of no known format of weights", lambda weights: struct.pack("<Q", 1 << 60) + weights[8:]),
    ("is not a method saved", lambda weights: with_header(weights, config=[1])),
    ("contains NaN", lambda weights: weights[:-8] + b"\xff" * 8),
    ("There is no method 'os.system'", lambda weights: with_header(weights, method="os.system")),
    ("which is no sparse autoencoder", lambda weights: with_header(weights, method="elude")),
    ("random_dictionary.k = -5", lambda weights: with_header(weights, config={"k": -5})),
    ("no setting 'evil'", lambda weights: with_header(weights, config={"evil": 1})),
    ("does not say which method", lambda weights: with_header(weights, method="pretrained_sae")),
    (
        "does not say which method",
        lambda weights: with_header(weights, method="pretrained_sae", extra={"loaded": {"method": "pretrained_sae"}}),
    ),
    ("which random_dictionary does not have", lambda weights: with_header(weights, ("gain", "gait"))),
    ("are damaged", lambda weights: with_header(weights).replace(b"[12, 6]", b"[72, 1]")),
    ("has the type torch.int32", lambda weights: with_header(weights).replace(b'"F32"', b'"I32"')),
]


@pytest.mark.parametrize(("expected", "damage"), DAMAGED)
def test_hostile_weights_end_in_one_sentence(
    hub: FakeHub, weights: bytes, expected: str, damage: Callable[[bytes], bytes]
) -> None:
    hub.put(REPOSITORY, model__safetensors=damage(weights))
    assert expected in refused()


def test_loaded_weights_give_the_saved_codes_to_the_bit(hub: FakeHub, weights: bytes, tmp_path: Path) -> None:
    commit = hub.put(REPOSITORY, model__safetensors=weights)
    (tmp_path / "original.safetensors").write_bytes(weights)
    original = methods.load(tmp_path / "original.safetensors")
    site, tokens = small_layer()
    method = methods.create("pretrained_sae", weights=f"hf:{REPOSITORY}").fit(tokens, site)
    assert torch.equal(method.encode(tokens.fields["output"]), original.encode(tokens.fields["output"]))
    assert any(commit in note for note in method.notes)
