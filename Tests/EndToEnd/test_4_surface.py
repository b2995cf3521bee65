"""The faces of the product to outside tools: OpenAPI, Prometheus, SSE, tokens, the command line."""

import json
import subprocess
import threading

import pytest
import requests

from lamina import BIN, sha256_of, wait_until


def test_openapi_is_valid_and_complete(controller):
    from openapi_spec_validator import validate

    document = controller.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    validate(document)
    for path in ("/v1/data-centers", "/v1/image-storages/{id}", "/v1/images/{id}/content", "/v1/uploads/{id}", "/v1/jobs/{id}/cancel"):
        assert path in document["paths"], path
    for path in ("/v1/images/sync", "/v1/images/migrate", "/v1/exports"):
        assert path not in document["paths"], "what does not exist yet is not promised"


def test_metrics_are_what_promtool_wants(controller):
    text = controller.raw("GET", "/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lamina_" in text


def test_api_token_and_its_end(controller):
    made = controller.post("/v1/api-tokens", {"name": "ci"}, expect=201)
    headers = {"Authorization": f"Bearer {made['token']}"}
    ask = lambda: requests.get(controller.url + "/v1/images", headers=headers, verify=controller.session.verify, timeout=5).status_code
    assert ask() == 200
    assert made["token"] not in json.dumps(controller.get("/v1/api-tokens"))
    controller.call("DELETE", f"/v1/api-tokens/{made['id']}", expect=204)
    assert ask() == 401


def test_wrong_password_is_refused_and_slowed(controller):
    for _ in range(2):
        controller.refused("POST", "/v1/sessions", {"username": "nobody", "password": "x"}, 401, "authentication-failed")


def test_events_are_live_and_resume(controller):
    seen = []

    def listen(headers):
        with controller.session.get(controller.url + "/v1/events", stream=True, headers=headers, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            ready.set()
            for line in answer.iter_lines():
                if line.startswith(b"id:"):
                    seen.append(int(line[3:]))
                if len(seen) >= 1 and line == b"":
                    return

    ready = threading.Event()
    thread = threading.Thread(target=listen, args=({},), daemon=True)
    thread.start()
    ready.wait(10)
    # Any job makes events; a reconnect of a storage is one.
    storages = controller.get("/v1/image-storages", params={"status": "connected"})["items"]
    controller.finish(controller.post(f"/v1/image-storages/{storages[0]['id']}/reconnect", expect=202))
    thread.join(30)
    assert seen, "no event came"
    first = seen[0]
    seen.clear()
    ready.clear()
    listen({"Last-Event-ID": str(first - 1)})
    assert seen[0] == first


def test_lists_page_through(controller):
    made = [controller.post("/v1/data-centers", {"name": f"page-{n:02}"})["id"] for n in range(7)]
    names, cursor = [], None
    while True:
        page = controller.get("/v1/data-centers", params={"limit": 3, "sort": "-name", "q": "page-", **({"cursor": cursor} if cursor else {})})
        names += [item["name"] for item in page["items"]]
        cursor = page.get("nextCursor")
        if not cursor:
            break
    assert names == [f"page-{n:02}" for n in reversed(range(7))]
    assert controller.raw("GET", "/v1/data-centers", params={"limit": 501}).status_code in (400, 422)
    for each in made:
        controller.call("DELETE", f"/v1/data-centers/{each}")


@pytest.mark.parametrize("words, code", [
    (["image", "show", "no-such-image"], 3), (["image", "frobnicate"], 2), (["image", "add"], 2),
])
def test_cli_exit_codes(controller, words, code):
    assert controller.cli(*words, check=False).returncode == code


def test_cli_without_rights_and_without_server(controller):
    assert controller.cli("image", "list", check=False, environment={"LAMINA_TOKEN": "wrong"}).returncode == 4
    assert controller.cli("image", "list", check=False, environment={"LAMINA_URL": "https://10.77.1.1:1"}).returncode == 5


def test_cli_flow_of_an_admin(controller, hosts, storage, files, scratch):
    rows = json.loads(controller.cli("storage", "list", "--output", "json").stdout)
    assert any(row["id"] == storage["id"] for row in rows["items"])
    controller.cli("image", "add", "--storage", storage["name"], "--name", "from-cli", "--type", "system",
                   "--file", files.path("rescue.iso"), "--wait")
    assert "from-cli" in controller.cli("image", "list").stdout
    out = scratch / "from-cli.iso"
    controller.cli("image", "download", "from-cli", "--format", "raw", "-o", out)
    assert out.read_bytes() == files.path("rescue.iso").read_bytes()
    # A name without a directory is a file of the working directory.
    controller.cli("image", "download", "from-cli", "--format", "qcow2", "-o", "named.qcow2", folder=scratch)
    subprocess.run(["qemu-img", "check", scratch / "named.qcow2"], check=True, capture_output=True)
    controller.cli("image", "delete", "from-cli", "--yes", "--wait")
    assert controller.cli("image", "show", "from-cli", check=False).returncode == 3


def test_cli_download_goes_on_where_it_broke_off(controller, storage, files, scratch, web):
    image = controller.add_image(storage, "resumed", {"url": f"{web}/big.raw"} if files.path("big.raw") else None)
    out = scratch / "resumed.raw"
    words = [BIN / "lamina", "image", "download", "resumed", "--format", "raw", "-o", out]
    first = subprocess.Popen(words, env=controller.cli_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = lambda: next((p for p in scratch.glob("resumed.raw*") if p.stat().st_size > 64 << 20), None)
    part = wait_until(found, 60, 0.01, "a part of the file")
    first.kill()
    first.wait()
    assert not out.exists(), "only a whole file has the name that was asked for"
    kept = part.stat().st_size
    done = controller.cli("image", "download", "resumed", "--format", "raw", "-o", out)
    assert kept > 64 << 20 and sha256_of(out) == files.digest("big.raw"), done.stdout
    assert not part.exists()
    controller.finish(controller.call("DELETE", f"/v1/images/{image['id']}"))


def test_cli_completion_and_manual(controller):
    assert "complete" in controller.cli("--generate-completion-script", "bash").stdout
    assert controller.cli("man").stdout.lstrip().startswith((".", "'"))
