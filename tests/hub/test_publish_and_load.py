"""Publishing to, and loading from, a Hub that may fail: real client, real HTTP, processes of their own."""

import hashlib
import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml

from madrnet_timm.hub.hub_errors import hub_reason

from .loopback import READER, WRITER, Fault

REPO = "owner/heads"
LOGITS = """
import sys, timm, torch, madrnet_timm
model = timm.create_model(sys.argv[1], pretrained=True).eval()
x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
torch.save(model(x).detach(), sys.argv[2])
print(model.pretrained_cfg["label_names"])
"""


def test_publish_wipe_load(hub, python, madrnet, model_dir, tmp_path, environment):
    """Publish, then load in fresh processes by branch and by tag: bit-equal logits, label names, one commit."""
    run = madrnet("publish", model_dir, "--repo", REPO, "--tag", "v1.0")
    assert run.returncode == 0, run.stderr
    assert "model.safetensors: added" in run.stdout
    assert WRITER not in run.stdout + run.stderr
    repo = hub.repos[f"models/{REPO}"]
    assert len(repo.commits) == 2
    assert repo.tags == {"v1.0": repo.commits[-1][0]}
    assert set(repo.commits[-1][1]) == {"README.md", "config.json", "model.safetensors"}
    shutil.rmtree(environment["HF_HOME"], ignore_errors=True)
    local = python("-c", LOGITS, f"local-dir:{model_dir}", tmp_path / "local.pt")
    assert local.returncode == 0, local.stderr
    for number, name in enumerate((f"hf-hub:{REPO}", f"hf-hub:{REPO}@v1.0")):
        run = python("-c", LOGITS, name, tmp_path / f"{number}.pt")
        assert run.returncode == 0, run.stderr
        assert run.stdout == local.stdout
        assert torch.equal(torch.load(tmp_path / f"{number}.pt"), torch.load(tmp_path / "local.pt"))


TRANSFORM = """
import sys, timm, madrnet_timm
model = timm.create_model(sys.argv[1], pretrained=True, cache_dir=sys.argv[2] or None)
print(model.pretrained_cfg["notes"], madrnet_timm.create_transform(model).pipeline)
"""


def test_the_pipeline_comes_with_the_weights(hub, python, model_dir, tmp_path):
    """From the Hub, with a config.json of the time before timm's notes named it; to a cache of one's own, too."""
    files = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    config = json.loads(files["config.json"])
    assert config["pretrained_cfg"].pop("notes") == ["pipeline: aligned-normalized"]
    hub.add(REPO, files | {"config.json": json.dumps(config).encode()})
    for cache in ("", tmp_path / "cache"):
        run = python("-c", TRANSFORM, f"hf-hub:{REPO}", cache)
        assert run.stdout == "('pipeline: aligned-normalized',) aligned-normalized\n", run.stderr
    config["pretrained_cfg"]["pipeline"] = "aligned-normalized"
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    run = python("-c", TRANSFORM, f"local-dir:{tmp_path / 'model'}", "")
    assert "unexpected keyword argument 'pipeline'" in run.stderr  # else the key could stand there


SEEN = """
import sys
from madrnet_timm.hub.lookup import find_model
from madrnet_timm.hub.model_folder import ModelFolder

print(sorted(ModelFolder(find_model(sys.argv[1])).seen))
"""


def test_what_a_model_has_seen_goes_with_it(hub, python, madrnet, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "seen.csv").write_text("pixel_sha256\nab\ncd\n")
    run = madrnet("publish", tmp_path / "model", "--repo", REPO)
    assert run.returncode == 0, run.stderr
    assert "seen.csv: added" in run.stdout
    run = python("-c", SEEN, f"hf-hub:{REPO}")
    assert (run.returncode, run.stdout) == (0, "['ab', 'cd']\n"), run.stderr


def test_publish_is_idempotent_and_says_what_changes(hub, madrnet, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "run" / "model")
    run = madrnet("publish", tmp_path / "run", "--repo", REPO, "--dry-run", "--private")
    assert "repository owner/heads: will be made, private" in run.stdout
    assert "dry run: nothing was sent" in run.stdout
    assert hub.repos == {}
    assert not any(line.startswith(("POST", "PUT")) for line in hub.log)
    assert madrnet("publish", tmp_path / "run", "--repo", REPO, "--private", "--tag", "v1").returncode == 0
    repo = hub.repos[f"models/{REPO}"]
    assert repo.private
    run = madrnet("publish", tmp_path / "run", "--repo", REPO, "--tag", "v1")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("unchanged") == 3
    assert len(repo.commits) == 2
    card = tmp_path / "run" / "model" / "README.md"
    card.write_text(card.read_text() + "\nMore.\n")
    run = madrnet("publish", tmp_path / "run", "--repo", REPO, "--tag", "v1")
    assert run.returncode == 2
    assert "--tag v1: stands for other files already" in run.stderr
    hub.log.clear()
    run = madrnet("publish", tmp_path / "run", "--repo", REPO, "--tag", "v2")
    assert run.returncode == 0
    assert "README.md: changed" in run.stdout
    assert "model.safetensors: unchanged" in run.stdout
    assert not any(line.startswith("PUT") for line in hub.log)  # the weights are not sent again
    assert list(repo.tags) == ["v1", "v2"]
    shutil.copy(model_dir / "README.md", card)  # what v1 stands for, again
    run = madrnet("publish", tmp_path / "run", "--repo", REPO, "--tag", "v1")
    assert run.returncode == 0, run.stderr
    assert repo.tags["v1"] == repo.commits[1][0]
    assert repo.commits[-1][1] == repo.commits[1][1]


def test_killed_at_every_request_and_given_again(hub, fresh_python, model_dir, environment):
    """Whatever request an upload dies at, the same command again leaves the same repository, with one tag."""

    def publish():
        words = ("-m", "madrnet_timm.cli", "publish", model_dir, "--repo", REPO, "--tag", "v1")
        started = lambda pid: setattr(hub, "pid", pid)  # noqa: E731
        return fresh_python(*words, env=environment, started=started, package=True).returncode

    killed = 0
    for number in range(60):
        hub.repos.clear(), hub.objects.clear(), hub.log.clear()
        hub.faults = [Fault(".", "kill", after=number)]
        status = publish()
        if status == 0:
            break
        assert status == -9
        killed += 1
        hub.faults = []
        assert publish() == 0
        repo = hub.repos[f"models/{REPO}"]
        assert repo.commits[-1][1] == {
            name: (model_dir / name).read_bytes() for name in ("README.md", "config.json", "model.safetensors")
        }
        assert repo.tags == {"v1": repo.commits[-1][0]}
        assert len(repo.commits) <= 3
    assert 8 <= killed < 59


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([Fault("POST /api/repos/create", 403)], "your token may not write there"),
        ([Fault("GET /api/models", 401, times=9)], "the Hub does not know you; log in with `hf auth login`"),
        ([Fault("PUT /lfs", 400, times=9)], "the Hub refuses it|give the command again"),
        ([Fault("POST /api/models/.*/commit", 500, times=99)], "give the command again"),
        ([Fault("POST /api/validate-yaml", 400, times=9)], "the Hub refuses it"),
    ],
)
def test_publish_says_why_not(hub, madrnet, model_dir, faults, words):
    hub.faults = faults
    run = madrnet("publish", model_dir, "--repo", REPO)
    assert run.returncode == 2
    assert re.search(words, run.stderr), run.stderr
    assert "Traceback" not in run.stderr
    assert WRITER not in run.stdout + run.stderr
    hub.faults = []
    assert madrnet("publish", model_dir, "--repo", REPO).returncode == 0


def test_publish_goes_on_after_hiccups(hub, madrnet, model_dir):
    hub.faults = [Fault("PUT /lfs", 503), Fault("PUT /lfs", 429), Fault("POST .*/objects/batch", 503)]
    for _ in range(3):  # what the client gives up on, an older one at each fault, the same command finishes
        run = madrnet("publish", model_dir, "--repo", REPO)
        if run.returncode == 0:
            break
    assert run.returncode == 0, run.stderr
    assert (
        hub.repos[f"models/{REPO}"].commits[-1][1]["model.safetensors"]
        == (model_dir / "model.safetensors").read_bytes()
    )


def test_publish_mistakes(madrnet, model_dir, tmp_path):
    run = madrnet("publish", tmp_path, "--repo", REPO)
    assert "neither a finished run nor a model folder" in run.stderr
    assert "expected owner/name" in madrnet("publish", model_dir, "--repo", "heads").stderr
    shutil.copytree(model_dir, tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("# no front matter\n")
    assert "no model card with front matter" in madrnet("publish", tmp_path / "m", "--repo", REPO).stderr
    (tmp_path / "m" / "README.md").write_bytes("---\nlicense: mit\n---\nköpfe".encode("latin-1"))
    assert "README.md: no model card with front matter" in madrnet("publish", tmp_path / "m", "--repo", REPO).stderr


def test_a_page_in_the_place_of_an_answer_is_no_refusal():
    """A login page of the network's: nothing that the Hub says of what was asked, but for what is sent to it."""
    error = json.JSONDecodeError("Expecting value", "<html>", 0)
    assert "can't be reached or broke off" in hub_reason(error, REPO, remedy="check the connection")
    assert "the Hub refuses it" in hub_reason(error, REPO, writing=True, remedy="again")


def files_of(model_dir):
    return {path.name: path.read_bytes() for path in model_dir.iterdir()}


FIND = "import sys; from madrnet_timm.inference import Classifier; print(Classifier(sys.argv[1]).label_names)"


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([Fault("HEAD", 503, times=99)], "the Hub answers 503; try again later"),
        ([Fault("GET .*safetensors", 500, times=99)], "500|broke off"),
        ([Fault("GET .*safetensors", "cut", times=99)], "broke off"),
        ([Fault("HEAD", 403, times=99)], r"refuses this token \(403\)"),
    ],
)
def test_load_says_why_not(hub, python, model_dir, faults, words):
    hub.add(REPO, files_of(model_dir))
    hub.faults = faults
    run = python("-c", FIND, f"hf-hub:{REPO}")
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1
    assert re.search(words, last), run.stderr
    hub.faults = []
    assert "Tapered" in python("-c", FIND, f"hf-hub:{REPO}").stdout  # and again it works


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("hf-hub:owner/none", {}, "does not exist, or is private and you are not logged in"),
        (f"hf-hub:{REPO}@v9", {}, "has no revision v9"),
        ("hf-hub:owner/secret", {"HF_TOKEN": ""}, "does not exist, or is private and you are not logged in"),
        ("hf-hub:owner/gated", {"HF_TOKEN": ""}, "is gated; ask for access"),
        ("hf-hub:owner/pickled", {}, "pickled weights are never opened"),
        ("hf-hub:heads", {}, "expected hf-hub:owner/name"),
        (f"hf-hub:{REPO}", {"HF_HUB_OFFLINE": "1"}, "not in the cache, and HF_HUB_OFFLINE is set"),
        (f"hf-hub:{REPO}", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "can't be reached"),
        ("hf-hub:me/he ads", {}, "expected hf-hub:owner/name"),
        (f"hf-hub:{REPO}@../../x", {}, "expected hf-hub:owner/name"),
        ("a" * 5000, {}, "no name of a model"),
        ("madrnet_resnet50.x", {}, "no weights of this name are published; expected a model folder, a finished run"),
    ],
)
def test_what_can_not_be_had_is_one_line_in_time(hub, madrnet, model_dir, tmp_path, name, changes, words):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    hub.add(REPO, files_of(model_dir))
    hub.add("owner/secret", files_of(model_dir), private=True)
    hub.add("owner/gated", files_of(model_dir), gated=True)
    hub.add("owner/pickled", {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"})
    start = time.monotonic()
    run = madrnet("predict", tmp_path / "a.png", "--model", name, **changes)
    assert run.returncode == 2
    assert words in run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert time.monotonic() - start < 20  # imports and a busy machine included; the question itself takes 5 s at most
    assert not any(line.endswith(".bin") for line in hub.log)


def test_a_bug_is_no_trouble_with_the_hub(hub, python, model_dir):
    """Not even where the cache would do."""
    code = f"""
import huggingface_hub
from madrnet_timm.hub.lookup import find_model
from madrnet_timm.hub.publish import publish
list(publish({str(model_dir)!r}, "{REPO}"))
find_model("hf-hub:{REPO}")
huggingface_hub.HfApi.model_info = huggingface_hub.HfApi.list_repo_refs = lambda *_, **__: {{}}["bug"]
for call in (lambda: find_model("hf-hub:{REPO}"), lambda: list(publish({str(model_dir)!r}, "{REPO}"))):
    try:
        call()
    except KeyError as error:
        print(error)
"""
    run = python("-c", code)
    assert run.stdout == "'bug'\n'bug'\n", run.stderr


def test_tokens_are_used(hub, python, model_dir):
    hub.add("owner/secret", files_of(model_dir), private=True)
    run = python("-c", FIND, "hf-hub:owner/secret", HF_TOKEN=READER)
    assert "Tapered" in run.stdout, run.stderr


def test_cached_models_need_no_hub(hub, python, model_dir):
    hub.add(REPO, files_of(model_dir))
    hub.repos[f"models/{REPO}"].tags["v1"] = hub.repos[f"models/{REPO}"].commits[-1][0]
    assert python("-c", FIND, f"hf-hub:{REPO}@v1").returncode == 0
    for changes in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        run = python("-c", FIND, f"hf-hub:{REPO}@v1", **changes)
        assert "Tapered" in run.stdout
        assert ("does not answer" in run.stderr) == ("HF_ENDPOINT" in changes)


def test_a_branch_is_asked_for_anew(hub, python, model_dir):
    repo = hub.add(REPO, files_of(model_dir))
    assert "Tapered" in python("-c", FIND, f"hf-hub:{REPO}@main").stdout
    files = files_of(model_dir)
    repo.commit(files | {"config.json": files["config.json"].replace(b"Tapered", b"Pointed")})
    assert "Pointed" in python("-c", FIND, f"hf-hub:{REPO}@main").stdout


@pytest.fixture
def published(model_dir, tmp_path, environment):
    """A copy of the package whose models.yaml names the test model, first on the path."""
    source = Path(__file__).parents[2] / "src"
    copy = tmp_path / "src"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    name = "madrnet_test_resnet.heads"

    def write(sha256, config_sha256=None):
        entry = {
            "revision": "v1", "sha256": sha256, "config_sha256": config_sha256, "train": "the command",
            "cfg": {
                "num_classes": 4, "input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3,
                "label_names": ["Normal", "Tapered", "Pyriform", "Amorphous"],
            },
        }  # fmt: skip
        (copy / "madrnet_timm" / "models" / "models.yaml").write_text(yaml.safe_dump({name: entry}))

    write(hashlib.sha256((model_dir / "model.safetensors").read_bytes()).hexdigest())
    environment["PYTHONPATH"] = str(copy)
    return name, write


def test_published_names(hub, python, published, model_dir, tmp_path):
    """`madrnet_x.tag` from $MADRNET_HUB_DIR and from the Hub under a namespace of one's own; wrong hashes are "
    "refused."""
    name, write = published
    reference = python("-c", LOGITS, f"local-dir:{model_dir}", tmp_path / "local.pt")
    assert reference.returncode == 0
    repo = hub.add(f"me/{name}", files_of(model_dir))
    repo.tags["v1"] = repo.commits[-1][0]
    shutil.copytree(model_dir, tmp_path / "mine" / name)
    places = ({"MADRNET_HUB_DIR": str(tmp_path / "mine"), "HF_HUB_OFFLINE": "1"}, {"MADRNET_HUB_NAMESPACE": "me"})
    for number, changes in enumerate(places):
        for model in (name, "madrnet_test_resnet")[: 1 + number]:  # the tag is the architecture's default
            run = python("-c", LOGITS, model, tmp_path / f"{number}.pt", **changes)
            assert run.returncode == 0, run.stderr
            assert torch.equal(torch.load(tmp_path / f"{number}.pt"), torch.load(tmp_path / "local.pt"))
            assert "Amorphous" in run.stdout
    for given in (name, "madrnet_test_resnet"):
        run = python("-c", FIND, given, HF_HUB_OFFLINE="1", MADRNET_HUB_DIR=str(tmp_path / "mine"))
        assert "Amorphous" in run.stdout, run.stderr
        run = python("-c", FIND, given, HF_HUB_OFFLINE="1", MADRNET_HUB_DIR="elsewhere")
        assert run.stderr.strip().endswith(
            f"{name}: not in MADRNET_HUB_DIR (elsewhere), not in the cache, and HF_HUB_OFFLINE is set; unset it, or "
            f"put the model folder into $MADRNET_HUB_DIR/{name}"
        )
    write("0" * 64)
    run = python("-c", LOGITS, name, tmp_path / "x.pt", **places[0])
    assert run.returncode == 1
    assert "has the sha256" in run.stderr.strip().splitlines()[-1]
    (tmp_path / "mine" / name / "config.json").unlink()
    run = python("-c", LOGITS, name, tmp_path / "x.pt", **places[0])
    assert "(config.json is missing)" in run.stderr.strip().splitlines()[-1]


def test_weights_that_are_spoiled_on_the_way(hub, python, published, model_dir, tmp_path):
    """Fetched once more; where they stay wrong, it is said."""
    name, _ = published
    repo = hub.add(f"me/{name}", files_of(model_dir))
    repo.tags["v1"] = repo.commits[-1][0]
    hub.faults = [Fault("GET .*safetensors", "corrupt", times=9)]
    run = python("-c", LOGITS, name, tmp_path / "x.pt", MADRNET_HUB_NAMESPACE="me")
    assert run.returncode == 1
    assert re.search(r"model.safetensors has the sha256 \w+\.\.\., not", run.stderr.strip().splitlines()[-1])
    assert not (tmp_path / "x.pt").exists()
    hub.faults = []  # what lies in the cache is wrong, and is mended
    run = python("-c", LOGITS, name, tmp_path / "x.pt", MADRNET_HUB_NAMESPACE="me")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_damaged_file_of_a_repository_is_fetched_once_more(hub, python, model_dir, environment, file):
    """Also where only a number in the middle of it is another."""
    hub.add(REPO, files_of(model_dir))
    assert "Tapered" in python("-c", FIND, f"hf-hub:{REPO}").stdout
    (cached,) = (path for path in Path(environment["HF_HOME"]).rglob(file) if path.is_file())
    data = bytearray(cached.read_bytes())
    data[len(data) // 2] ^= 1
    cached.resolve().write_bytes(data)
    run = python("-c", FIND, f"hf-hub:{REPO}", HF_HUB_OFFLINE="1")
    assert run.stderr.strip().endswith(f"try again, or ask the owner of {REPO}")
    assert f"{file} is damaged, and HF_HUB_OFFLINE is set; delete {cached.parents[2]}" in run.stderr
    run = python("-c", FIND, f"hf-hub:{REPO}")
    assert "Tapered" in run.stdout, run.stderr
    hub.log.clear()
    assert "Tapered" in python("-c", FIND, f"hf-hub:{REPO}").stdout
    assert not any(line.startswith("GET /owner") for line in hub.log)  # and not again each time


def test_a_dry_run_needs_no_hub(madrnet, model_dir):
    for changes in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        run = madrnet("publish", model_dir, "--repo", REPO, "--dry-run", **changes)
        assert run.returncode == 0, run.stderr
        assert re.search(r"model.safetensors: to be sent, \d", run.stdout)
        assert run.stdout.endswith("dry run: nothing was sent\n")
    assert madrnet("publish", model_dir, "--repo", REPO, **changes).returncode == 2


def test_publish_sets_the_licence_on_the_card_that_is_sent(hub, madrnet, model_dir, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "mine" / "heads")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("license: apache-2.0\n", ""))
    run = madrnet("publish", "heads", "--repo", REPO, MADRNET_HUB_DIR=str(tmp_path / "mine"))  # by its name
    assert run.returncode == 0, run.stderr
    assert "the card names no licence" in run.stdout
    repo = hub.repos[f"models/{REPO}"]
    assert b"license" not in repo.commits[-1][1]["README.md"]
    assert madrnet("publish", folder, "--repo", REPO, "--license", "Do what you want").returncode == 2
    run = madrnet("publish", folder, "--repo", REPO, "--license", "cc-by-4.0")
    assert "README.md: changed" in run.stdout
    assert yaml.safe_load(repo.commits[-1][1]["README.md"].split(b"---\n")[1])["license"] == "cc-by-4.0"
    assert repo.commits[-1][1]["README.md"].endswith(b"\n# A model\n")


def test_published_name_in_a_time_that_one_can_wait(python, published, tmp_path):
    start = time.monotonic()
    run = python("-c", LOGITS, published[0], tmp_path / "x.pt", HF_ENDPOINT="http://127.0.0.1:9")
    assert "can't be reached" in run.stderr.strip().splitlines()[-1]
    assert time.monotonic() - start < 20


def test_datasets_too(hub, python, tmp_path):
    """The same server serves data sets: up, down, ranges."""
    script = """
import sys
from huggingface_hub import HfApi, hf_hub_download
api = HfApi()
api.create_repo("owner/set", repo_type="dataset")
api.upload_file(path_or_fileobj=b"x" * 1000, path_in_repo="data.bin", repo_id="owner/set", repo_type="dataset")
path = hf_hub_download("owner/set", "data.bin", repo_type="dataset")
assert open(path, "rb").read() == b"x" * 1000
"""
    run = python("-c", script)
    assert run.returncode == 0, run.stderr
    import urllib.request

    request = urllib.request.Request(
        f"{hub.url}/datasets/owner/set/resolve/main/data.bin", headers={"Range": "bytes=10-19"}
    )
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, len(answer.read())) == (206, 10)
