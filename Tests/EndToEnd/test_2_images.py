"""Images in and out. Goal: each way in, byte for byte out, every refusal with its reason."""

import hashlib
import os
import pathlib
import subprocess

import pytest
import requests

from lamina import sha256_of, wait_until


@pytest.fixture(scope="module")
def on_host(lab, files):
    """A directory of h1 that imports are allowed from, with the files in it."""
    lab.sh("h1", "mkdir -p /lamina/import")
    for name in ("disk.raw", "disk.qcow2", "disk.vmdk", "rescue.iso"):
        lab.put("h1", files.path(name), f"/lamina/import/{name}")
    lab.sh("h1", "chmod -R a+rX /lamina/import")
    return "/lamina/import"


def test_raw_by_url_comes_back_byte_for_byte(controller, storage, files, web):
    image = controller.add_image(storage, "raw-url", {"url": f"{web}/disk.raw"} if files.path("disk.raw") else None,
                                 checksum="sha256:" + files.digest("disk.raw"))
    assert image["status"] == "ready" and image["virtualSizeBytes"] == 512 << 20
    assert image["sourceDigest"] == "sha256:" + files.digest("disk.raw")
    assert controller.download_digest(image) == files.digest("disk.raw")


@pytest.mark.parametrize("container", ["qcow2", "vmdk"])
def test_the_same_disk_in_two_containers_is_one_content(controller, storage, files, on_host, container):
    raw = controller.add_image(storage, f"raw-path-{container}", {"hostPath": f"{on_host}/disk.raw"})
    before = controller.get(f"/v1/image-storages/{storage['id']}/usage")["storedBytes"]
    other = controller.add_image(storage, f"{container}-path", {"hostPath": f"{on_host}/disk.{container}"}, format=container,
                                 type="system")
    after = controller.get(f"/v1/image-storages/{storage['id']}/usage")["storedBytes"]
    assert raw["contentDigest"] == other["contentDigest"]
    assert after - before < files.path(f"disk.{container}").stat().st_size * 0.005
    assert controller.download_digest(other) == files.digest("disk.raw")


def test_iso_is_for_systems_only(controller, storage, files, on_host):
    body = {"imageStorageId": storage["id"], "name": "iso", "type": "disk", "format": "iso",
            "source": {"hostPath": f"{on_host}/rescue.iso"}}
    assert controller.raw("POST", "/v1/images", body).status_code in (400, 422)
    image = controller.add_image(storage, "iso", {"hostPath": f"{on_host}/rescue.iso"}, format="iso", type="system")
    assert controller.download_digest(image) == files.digest("rescue.iso")


@pytest.mark.parametrize("container", ["qcow2", "vmdk"])
def test_a_container_out_is_clean_and_equal(controller, storage, files, scratch, on_host, container):
    image = controller.add_image(storage, f"for-{container}-out", {"hostPath": f"{on_host}/disk.raw"})
    out = scratch / f"out.{container}"
    controller.cli("image", "download", image["id"], "--format", container, "-o", out)
    subprocess.run(["qemu-img", "check", "-f", container, out], check=True, capture_output=True)
    subprocess.run(["qemu-img", "compare", out, files.path("disk.raw")], check=True, capture_output=True)
    out.unlink()


def test_ranges_and_validators(controller, storage, files, on_host):
    image = controller.add_image(storage, "ranges", {"hostPath": f"{on_host}/rescue.iso"}, format="iso", type="system")
    whole = files.path("rescue.iso").read_bytes()
    path = f"/v1/images/{image['id']}/content"
    head = controller.raw("HEAD", path)
    assert int(head.headers["Content-Length"]) == len(whole) and not head.headers["ETag"].startswith("W/")
    assert head.headers["Accept-Ranges"] == "bytes"
    for text, want in (("bytes=0-0", whole[:1]), ("bytes=5000-70000", whole[5000:70001]), ("bytes=-100", whole[-100:]),
                       (f"bytes={len(whole) - 7}-", whole[-7:])):
        answer = controller.raw("GET", path, headers={"Range": text})
        assert answer.status_code == 206 and answer.content == want, text
    assert controller.raw("GET", path, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert controller.raw("GET", path, headers={"If-None-Match": head.headers["ETag"]}).status_code == 304
    stale = controller.raw("GET", path, headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert stale.status_code == 200 and stale.content == whole


def test_upload_by_a_standard_tus_client(controller, storage, files, monkeypatch):
    import tusclient.client

    # The client verifies with the environment's bundle once it sends its first piece.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", controller.session.verify)
    source = files.path("disk.qcow2")
    client = tusclient.client.TusClient(controller.url + "/v1/uploads",
                                        headers={"Authorization": controller.session.headers["Authorization"]})
    uploader = client.uploader(str(source), chunk_size=1 << 20, verify_tls_cert=controller.session.verify,
                               metadata={"imageStorageId": storage["id"], "filename": "disk.qcow2"})
    uploader.upload_chunk()
    assert uploader.offset == 1 << 20
    again = client.uploader(str(source), chunk_size=4 << 20, url=uploader.url, verify_tls_cert=controller.session.verify)
    again.upload()
    upload_id = uploader.url.rsplit("/", 1)[1]
    image = controller.add_image(storage, "by-tus", {"uploadId": upload_id}, format="qcow2",
                                 checksum="sha256:" + files.digest("disk.qcow2"))
    assert controller.download_digest(image) == files.digest("disk.raw")


def test_a_wrong_upload_checksum_keeps_nothing(controller, storage):
    import base64

    made = controller.raw("POST", "/v1/uploads", headers={
        "Tus-Resumable": "1.0.0", "Upload-Length": "10",
        "Upload-Metadata": "imageStorageId " + base64.b64encode(storage["id"].encode()).decode()})
    assert made.status_code == 201, made.text
    location = made.headers["Location"]
    path = location[location.index("/v1/"):]

    def patch(offset, data, digest):
        return controller.session.patch(controller.url + path, data=data, timeout=30, headers={
            "Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream",
            "Upload-Checksum": "sha256 " + base64.b64encode(digest).decode()})

    refused = patch(0, b"01234", b"x" * 32)
    assert refused.status_code == 460, refused.text
    head = controller.raw("HEAD", path, headers={"Tus-Resumable": "1.0.0"})
    assert head.headers["Upload-Offset"] == "0"
    good = patch(0, b"01234", hashlib.sha256(b"01234").digest())
    assert good.status_code == 204 and good.headers["Upload-Offset"] == "5"
    assert patch(3, b"x", hashlib.sha256(b"x").digest()).status_code == 409
    gone = controller.raw("DELETE", path, headers={"Tus-Resumable": "1.0.0"})
    assert gone.status_code == 204
    assert controller.raw("HEAD", path, headers={"Tus-Resumable": "1.0.0"}).status_code in (404, 410)


@pytest.mark.parametrize("name, url, format, code", [
    ("html", "/page.qcow2", "qcow2", "image-format-mismatch"),
    ("raw as qcow2", "/disk.raw", "qcow2", "image-format-mismatch"),
    ("qcow2 as raw", "/disk.qcow2", "raw", "image-format-mismatch"),
    ("redirect to a file", "/to-file", "raw", "source-denied"),
    ("redirect to metadata", "/to-metadata", "raw", "source-denied"),
    ("redirect loop", "/loop", "raw", "source-refused"),
    ("missing", "/nothing.raw", "raw", "source-refused"),
])
def test_a_bad_url_is_refused_with_the_reason(controller, storage, files, web, name, url, format, code):
    files.path("disk.raw"), files.path("disk.qcow2")
    answer = controller.add_image(storage, "bad " + name, {"url": web + url}, format=format, wait=False)
    job = controller.finish(answer, "failed")
    assert job["error"]["code"] == code, job["error"]
    image = controller.get(f"/v1/images/{answer['image']['id']}")
    assert image["status"] == "failed"
    controller.finish(controller.call("DELETE", f"/v1/images/{image['id']}"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:22/x", "http://169.254.169.254/x", "http://[::1]/x"])
def test_loopback_and_link_local_are_not_fetched(controller, storage, url):
    answer = controller.raw("POST", "/v1/images", {
        "imageStorageId": storage["id"], "name": "ssrf", "type": "disk", "format": "raw", "source": {"url": url}})
    if answer.status_code == 202:
        job = controller.finish(answer.json(), "failed")
        assert job["error"]["code"] == "source-denied", job["error"]
    else:
        assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x/", "scp://h/x", "nonsense"])
def test_other_schemes_are_refused_at_once(controller, storage, url):
    answer = controller.raw("POST", "/v1/images", {
        "imageStorageId": storage["id"], "name": "scheme", "type": "disk", "format": "raw", "source": {"url": url}})
    assert answer.status_code in (400, 422) and answer.json()["field"] == "/source/url", answer.text


@pytest.mark.parametrize("path", ["/etc/passwd", "/lamina/import/../../etc/passwd", "/lamina/import/link.raw", "/lamina/import"])
def test_a_path_outside_the_import_directories_is_refused(controller, lab, storage, on_host, path):
    lab.sh("h1", "ln -sf /etc/passwd /lamina/import/link.raw")
    answer = controller.raw("POST", "/v1/images", {
        "imageStorageId": storage["id"], "name": "path", "type": "disk", "format": "raw", "source": {"hostPath": path}})
    if answer.status_code == 202:
        job = controller.finish(answer.json(), "failed")
        assert job["error"]["code"] == "host-path-refused", job["error"]
    else:
        assert answer.status_code in (400, 422), answer.text


def test_the_hosts_admin_allows_more_directories(controller, lab, files, storage):
    lab.sh("h1", "mkdir -p /srv/iso")
    lab.put("h1", files.path("rescue.iso"), "/srv/iso/rescue.iso")
    lab.sh("h1", "chmod -R a+rX /srv/iso")
    words = (storage, "from-srv", {"hostPath": "/srv/iso/rescue.iso"})
    refused = controller.finish(controller.add_image(*words, format="iso", type="system", wait=False), "failed")
    assert refused["error"]["code"] == "host-path-refused" and "import-directories" in refused["error"]["detail"]
    lab.sh("h1", "printf '# ISOs of the office\\n/srv/iso\\n' > /etc/lamina-agent/import-directories")
    image = controller.add_image(*words, format="iso", type="system")
    assert controller.download_digest(image) == files.digest("rescue.iso")


def test_notes_tell_what_is_on_the_disk(controller, lab, files, storage, on_host, scratch):
    disk = scratch / "gpt.raw"
    subprocess.run(["truncate", "-s", "64M", disk], check=True)
    subprocess.run(["sfdisk", "-q", disk], input="label: gpt\n,16M,U\n,,L\n", text=True, check=True)
    lab.put("h1", disk, "/lamina/import/gpt.raw")
    lab.sh("h1", "chmod a+r /lamina/import/gpt.raw")
    image = controller.add_image(storage, "gpt", {"hostPath": "/lamina/import/gpt.raw"})
    assert any("GPT" in note and "EFI system" in note for note in image["notes"]), image["notes"]
    plain = controller.add_image(storage, "declared", {"hostPath": f"{on_host}/disk.raw"}, type="system")
    assert any("ext4" in note for note in plain["notes"]), plain["notes"]
    assert any("needs a kernel from outside" in note for note in plain["notes"]), plain["notes"]


def test_backing_file_is_refused(controller, lab, files, storage, on_host, scratch):
    evil = scratch / "evil.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", evil, "1M"], check=True)
    lab.put("h1", evil, "/lamina/import/evil.qcow2")
    lab.sh("h1", "chmod a+r /lamina/import/evil.qcow2")
    answer = controller.add_image(storage, "evil", {"hostPath": "/lamina/import/evil.qcow2"}, format="qcow2", wait=False)
    job = controller.finish(answer, "failed")
    assert job["error"]["code"] == "image-unsafe" and "backing" in job["error"]["detail"]


def test_wrong_checksum_is_refused(controller, storage, on_host):
    answer = controller.add_image(storage, "sum", {"hostPath": f"{on_host}/disk.raw"}, wait=False, checksum="sha256:" + "0" * 64)
    assert controller.finish(answer, "failed")["error"]["code"] == "checksum-mismatch"


def test_cancel_leaves_nothing_behind(controller, lab, storage, files, web):
    files.path("big.raw")
    before = controller.get(f"/v1/image-storages/{storage['id']}/usage")
    answer = controller.add_image(storage, "cancelled", {"url": f"{web}/slow/big.raw"}, wait=False)
    wait_until(lambda: controller.job(answer["job"]["id"])["progress"]["doneBytes"] > 16 << 20, 60)
    controller.post(f"/v1/jobs/{answer['job']['id']}/cancel")
    controller.finish(answer, "cancelled")
    after = controller.get(f"/v1/image-storages/{storage['id']}/usage")
    assert after["temporaryBytes"] == before["temporaryBytes"] and after["storedBytes"] == before["storedBytes"]


def test_edit_search_delete(controller, storage, on_host):
    image = controller.add_image(storage, "to be renamed", {"hostPath": f"{on_host}/rescue.iso"}, format="iso", type="system")
    path = f"/v1/images/{image['id']}"
    assert controller.call("PATCH", path, {"name": "renamed", "description": "zebra"})["name"] == "renamed"
    assert [i["id"] for i in controller.get("/v1/images", params={"q": "zebra"})["items"]] == [image["id"]]
    controller.finish(controller.call("DELETE", path))
    assert controller.raw("GET", path).status_code == 404 or controller.get(path)["status"] == "expunged"
    assert controller.get("/v1/images", params={"q": "zebra"})["items"] == []
