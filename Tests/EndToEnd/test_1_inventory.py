"""Data centers, probing, image storages. Goal: what an admin does before the first image, and every way it can be refused."""

import uuid

import pytest

from lamina import wait_until


def test_health_is_open_and_everything_else_is_not(controller):
    import requests

    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert requests.get(controller.url + path, verify=controller.session.verify, timeout=5).status_code == 200, path
    for path in ("/v1/data-centers", "/v1/images", "/v1/jobs", "/v1/audit-log"):
        answer = requests.get(controller.url + path, verify=controller.session.verify, timeout=5)
        assert answer.status_code == 401 and answer.json()["code"], path


def test_data_center_life(controller):
    made = controller.post("/v1/data-centers", {"name": "dc-life", "description": "first"}, expect=201)
    answer = controller.raw("GET", f"/v1/data-centers/{made['id']}")
    etag = answer.headers["ETag"]
    changed = controller.call("PATCH", f"/v1/data-centers/{made['id']}", {"description": "second"},
                              headers={"If-Match": etag})
    assert changed["description"] == "second" and changed["name"] == "dc-life"
    stale = controller.raw("PATCH", f"/v1/data-centers/{made['id']}", {"name": "x"}, headers={"If-Match": etag})
    assert stale.status_code == 412
    assert any(item["id"] == made["id"] for item in controller.get("/v1/data-centers", params={"q": "secon"})["items"])
    controller.call("DELETE", f"/v1/data-centers/{made['id']}", expect=204)
    controller.refused("GET", f"/v1/data-centers/{made['id']}", None, 404, "data-center-not-found")


def test_same_idempotency_key_same_answer(controller):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    one = controller.post("/v1/data-centers", {"name": "dc-once"}, headers=key)
    two = controller.post("/v1/data-centers", {"name": "dc-once"}, headers=key)
    assert one == two
    other = controller.raw("POST", "/v1/data-centers", {"name": "dc-twice"}, headers=key)
    assert other.status_code == 409 and other.json()["code"] == "idempotency-key-reused"
    controller.call("DELETE", f"/v1/data-centers/{one['id']}")


@pytest.mark.parametrize("body, field", [
    ({"name": ""}, "/name"), ({"name": "a\u202eb"}, "/name"), ({"name": "x" * 129}, "/name"),
    ({"name": "ok", "color": "red"}, "/color"), ({}, "/name"), ({"name": 7}, "/name"),
])
def test_bad_data_centers_name_the_field(controller, body, field):
    answer = controller.raw("POST", "/v1/data-centers", body)
    assert answer.status_code in (400, 422) and answer.json()["field"] == field, answer.text


def probe_body(host, **changes):
    spec = {"address": host["mgmt"], "sshPort": host["port"], "username": "root", "password": host["root_password"]}
    spec.update(changes)
    return {"host": spec}


def test_probe_tells_what_is_there_and_changes_nothing(controller, lab, hosts):
    host = hosts["h3"]
    before = lab.written("h3")
    report = controller.post("/v1/image-storages/probe", probe_body(host))
    assert report["hostKey"].startswith("SHA256:") and report["architecture"] == "x86_64"
    assert "Debian" in report["os"]
    assert {disk["device"] for disk in report["freeDisks"]} == set(host["disks"])
    assert host["mgmt"] in str(report["addresses"]) and host["data"] in str(report["addresses"])
    assert lab.written("h3") == before


@pytest.mark.parametrize("changes, code", [
    ({"password": "wrong"}, "ssh-authentication-failed"),
    ({"sshPort": 2222}, "ssh-port-closed"),
    ({"address": "10.77.1.250"}, "host-unreachable"),
    ({"hostKey": "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "ssh-host-key-changed"),
])
def test_each_failure_of_a_probe_has_its_own_words(controller, hosts, changes, code):
    answer = controller.raw("POST", "/v1/image-storages/probe", probe_body(hosts["h3"], **changes))
    assert answer.status_code in (400, 409, 422, 502) and answer.json()["code"] == code, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("changes, field", [
    ({"address": "-oProxyCommand=x"}, "/host/address"), ({"address": "10.0.0.300"}, "/host/address"),
    ({"sshPort": 0}, "/host/sshPort"), ({"username": "root; rm"}, "/host/username"),
])
def test_a_bad_host_is_refused_before_anything_is_dialled(controller, hosts, changes, field):
    answer = controller.raw("POST", "/v1/image-storages/probe", probe_body(hosts["h3"], **changes))
    assert answer.status_code in (400, 422) and answer.json()["field"] == field, answer.text


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/lamina", "/usr/bin", "/dev/x", "relative", "/a/../b", "/proc/1"])
def test_a_system_directory_is_no_mount_path(controller, hosts, path):
    spec = controller.storage_spec(hosts["h3"], "bad", path)
    answer = controller.raw("POST", "/v1/image-storages", spec)
    assert answer.status_code in (400, 422) and answer.json()["field"] == "/mountPath", answer.text


def test_a_network_must_be_one_of_the_hosts(controller, hosts):
    spec = controller.storage_spec(hosts["h3"], "bad-net", "/lamina-net", imageSyncNetwork="192.0.2.0/24")
    answer = controller.post("/v1/image-storages", spec, expect=202)
    job = controller.finish(answer, "failed")
    assert job["error"]["field"] == "/imageSyncNetwork", job


def test_storage_on_a_free_disk(controller, lab, hosts, storage):
    assert storage["status"] == "connected" and storage["state"] == "enabled"
    assert storage["reservedCapacityBytes"] == 1 << 30
    assert storage["blobUploadConcurrency"] == 1 and storage["blobDownloadConcurrency"] == 1
    assert "/lamina " in lab.sh("h1", "cat /proc/mounts")
    assert hosts["h1"]["root_password"] not in str(storage)
    usage = controller.get(f"/v1/image-storages/{storage['id']}/usage")
    assert usage["totalBytes"] > 5 << 30 and usage["images"] == 0


def test_the_same_place_cannot_be_added_twice(controller, hosts, storage):
    spec = controller.storage_spec(hosts["h1"], "again", "/lamina")
    answer = controller.raw("POST", "/v1/image-storages", spec)
    assert answer.status_code == 409, answer.text


def test_configuration_can_be_edited(controller, hosts, storage):
    path = f"/v1/image-storages/{storage['id']}"
    changed = controller.call("PATCH", path, {
        "description": "edited", "blobUploadConcurrency": 4, "imageSyncNetwork": "10.77.2.0/24"})
    assert changed["blobUploadConcurrency"] == 4 and changed["imageSyncNetwork"] == "10.77.2.0/24"
    answer = controller.raw("PATCH", path, {"blobUploadConcurrency": 17})
    assert answer.status_code in (400, 422) and answer.json()["field"] == "/blobUploadConcurrency"


def test_password_takes_effect_after_reconnect(controller, lab, hosts, storage):
    path = f"/v1/image-storages/{storage['id']}"
    answer = controller.call("PUT", path + "/password", {"password": "not the password"})
    assert "reconnect" in str(answer).lower()
    failed = controller.finish(controller.post(path + "/reconnect", expect=202), "failed")
    assert failed["error"]["code"] == "ssh-authentication-failed"
    controller.call("PUT", path + "/password", {"password": hosts["h1"]["root_password"]})
    controller.finish(controller.post(path + "/reconnect", expect=202))
    wait_until(lambda: controller.get(path)["status"] == "connected", 30)


def test_disabled_storage_takes_no_image(controller, storage):
    path = f"/v1/image-storages/{storage['id']}"
    assert controller.post(path + "/disable")["state"] == "disabled"
    body = {"imageStorageId": storage["id"], "name": "no", "type": "disk", "format": "raw",
            "source": {"hostPath": "/lamina/import/x.raw"}}
    controller.refused("POST", "/v1/images", body, 409, "image-storage-disabled")
    assert controller.post(path + "/enable")["state"] == "enabled"


def test_a_dead_host_is_disconnected_and_comes_back(controller, lab, hosts, storage):
    path = f"/v1/image-storages/{storage['id']}"
    controller.call("PATCH", "/v1/system-parameters/agent.ping-seconds", {"value": 1})
    lab.run("kill", "h1")
    try:
        gone = wait_until(lambda: (s := controller.get(path))["status"] == "disconnected" and s, 30, what="disconnected")
        assert gone["statusReason"]
    finally:
        lab.run("boot", "h1")
    wait_until(lambda: controller.get(path)["status"] == "connected", 60, what="connected again after a boot")
    assert "/lamina " in lab.sh("h1", "cat /proc/mounts")


def test_local_directory_of_a_regular_user(controller, lab, hosts):
    host = hosts["h2"]
    lab.sh("h2", "mkdir -p /srv/images && chown ops /srv/images")
    spec = controller.storage_spec(host, "by-ops", "/srv/images")
    spec["host"] = {"address": host["mgmt"], "username": "ops", "password": host["password"]}
    answer = controller.post("/v1/image-storages", spec, expect=202)
    controller.finish(answer)
    made = controller.get(f"/v1/image-storages/{answer['imageStorage']['id']}")
    assert made["status"] == "connected"
    deleted = controller.raw("DELETE", f"/v1/image-storages/{made['id']}")
    assert deleted.status_code == 202, deleted.text
    controller.finish(deleted.json())
    controller.refused("GET", f"/v1/image-storages/{made['id']}", None, 404, "image-storage-not-found")
    assert lab.sh("h2", "ls /srv/images/lamina/STORE").strip(), "the data on the disk stays"
