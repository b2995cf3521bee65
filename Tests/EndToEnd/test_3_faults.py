"""Faults. Goal: whatever is killed or full, every acknowledged image reads back exactly and nothing half-done is visible.

Method: SIGKILL at random moments (the seed is printed), small disks, hostile bytes at the frame port; afterwards the checks
of `sound`: images read back, accounts equal a scan, the store verifies clean with the offline tool."""

import os
import random
import signal
import socket
import ssl
import subprocess
import time

import pytest

from lamina import ROOT, sha256_of, wait_until

SEED = int(os.environ.get("LAMINA_TEST_SEED", "20261123"))


def unit(storage):
    return f"lamina-agent@{storage['id']}.service"


def agent_tool(lab, host, *words):
    return lab.exec(host, "/opt/lamina-agent/current/run", *words)


def sound(controller, lab, storage, host, mount_path):
    """The checks after every fault, with the agent stopped for the offline verify."""
    usage = controller.get(f"/v1/image-storages/{storage['id']}/usage")
    images = controller.get("/v1/images", params={"imageStorageId": storage["id"], "status": "ready", "limit": 500})["items"]
    assert usage["images"] == len(images)
    lab.exec(host, "systemctl", "stop", unit(storage))
    try:
        report = agent_tool(lab, host, "store", "verify", mount_path)
    finally:
        lab.exec(host, "systemctl", "start", unit(storage))
    wait_until(lambda: controller.get(f"/v1/image-storages/{storage['id']}")["status"] == "connected", 60)
    return report


@pytest.fixture(scope="module")
def middling(files):
    """160 MiB that neither compresses nor repeats."""
    path = files.folder / "middling.raw"
    if not path.exists():
        path.write_bytes(random.Random(SEED).randbytes(160 << 20))
    return path, sha256_of(path)


@pytest.fixture(scope="module")
def quick_pings(controller):
    controller.call("PATCH", "/v1/system-parameters/agent.ping-seconds", {"value": 1})


def other_content(path, moment):
    """The same size, other bytes: so that nothing is found in the store already."""
    with open(path, "r+b") as file:
        file.write(moment.randbytes(1 << 20))
        for offset in range(1 << 20, 160 << 20, 4096):
            file.seek(offset)
            file.write(moment.randbytes(64))
    return sha256_of(path)


@pytest.mark.parametrize("who", ["agent", "controller"])
def test_kill_at_random_moments_of_an_ingest(controller, lab, storage, web, files, middling, quick_pings, who):
    moment = random.Random(f"{SEED}-{who}")
    path, _ = middling
    kept = []
    for turn in range(10):
        digest = other_content(path, moment)
        answer = controller.add_image(storage, f"killed-{who}-{turn}", {"url": f"{web}/{path.name}"}, wait=False,
                                      checksum="sha256:" + digest)
        time.sleep(moment.uniform(0, 1.6))
        if who == "agent":
            lab.exec("h1", "systemctl", "kill", "-s", "KILL", unit(storage), check=False)
        else:
            controller.kill()
            controller.start()
        job = controller.finish(answer, seconds=120)
        assert job["state"] == "succeeded", (turn, job)
        image = controller.get(f"/v1/images/{answer['image']['id']}")
        # The kill may have come after the end of the job: the agent is started again within seconds.
        wait_until(lambda: controller.raw("HEAD", f"/v1/images/{image['id']}/content").status_code == 200, 60)
        assert controller.download_digest(image) == digest, turn
        kept.append(image)
        if len(kept) > 2:
            controller.finish(controller.call("DELETE", f"/v1/images/{kept.pop(0)['id']}"))
    sound(controller, lab, storage, "h1", "/lamina")
    for image in kept:
        controller.finish(controller.call("DELETE", f"/v1/images/{image['id']}"))


def test_a_cut_network_is_waited_out(controller, lab, storage, web, files, quick_pings):
    files.path("big.raw")
    answer = controller.add_image(storage, "cut", {"url": f"{web}/slow/big.raw"}, wait=False)
    wait_until(lambda: controller.job(answer["job"]["id"])["progress"]["doneBytes"] > 32 << 20, 60)
    lab.run("cut", "h1", "mgmt")
    try:
        wait_until(lambda: controller.get(f"/v1/image-storages/{storage['id']}")["status"] == "disconnected", 60)
    finally:
        lab.run("heal", "h1", "mgmt")
    controller.finish(answer, seconds=180)
    image = controller.get(f"/v1/images/{answer['image']['id']}")
    assert controller.download_digest(image) == files.digest("big.raw")
    controller.finish(controller.call("DELETE", f"/v1/images/{image['id']}"))


def test_a_full_disk_is_said_and_costs_nothing(controller, lab, hosts, web, files):
    """A 256 MiB disk: what fits is taken, what does not is refused, deletes still work, then it fits."""
    host = hosts["h3"]
    device = lab.run("disk", "h3", "300M").stdout.split()[-1]
    lab.sh("h3", f"mkfs.ext4 -q {device} && mkdir -p /small && mount {device} /small && rmdir /small/lost+found")
    small = controller.add_storage(host, "small", "/small", reservedCapacityBytes=16 << 20)
    part = files.folder / "part.raw"
    part.write_bytes(random.Random(SEED).randbytes(90 << 20))
    other = files.folder / "other.raw"
    other.write_bytes(random.Random(SEED + 1).randbytes(90 << 20))
    first = controller.add_image(small, "fits", {"url": f"{web}/part.raw"})
    answer = controller.add_image(small, "too much", {"url": f"{web}/other.raw"}, wait=False)
    job = controller.finish(answer, "failed")
    assert job["error"]["code"] == "image-storage-full", job["error"]
    assert controller.download_digest(first) == sha256_of(part)
    usage = controller.get(f"/v1/image-storages/{small['id']}/usage")
    assert usage["temporaryBytes"] == 0, usage
    lab.sh("h3", "dd if=/dev/zero of=/small/fill bs=64k 2>/dev/null; sync", check=False)
    controller.finish(controller.call("DELETE", f"/v1/images/{first['id']}"))
    lab.sh("h3", "rm /small/fill")
    again = controller.add_image(small, "fits now", {"url": f"{web}/other.raw"})
    assert controller.download_digest(again) == sha256_of(other)
    refused = controller.raw("DELETE", f"/v1/image-storages/{small['id']}")
    assert refused.status_code == 409 and again["name"] in refused.text, "a storage with images is not deleted without force"
    forced = controller.raw("DELETE", f"/v1/image-storages/{small['id']}", params={"force": "true"})
    controller.finish(forced.json())
    # Retrieve: the same store is added again, and its image is there again with its name.
    back = controller.add_storage(host, "small again", "/small", reservedCapacityBytes=16 << 20, retrieveExistingImages=True)
    images = controller.get("/v1/images", params={"imageStorageId": back["id"]})["items"]
    assert [i["name"] for i in images] == ["fits now"]
    assert controller.download_digest(images[0]) == sha256_of(other)
    controller.finish(controller.raw("DELETE", f"/v1/image-storages/{back['id']}", params={"force": "true"}).json())


def test_loose_files_are_retrieved_and_left_alone(controller, lab, hosts, files):
    lab.sh("h3", "mkdir -p /srv/loose")
    for name in ("disk.qcow2", "rescue.iso"):
        lab.put("h3", files.path(name), f"/srv/loose/{name}")
    lab.sh("h3", "chmod -R a+rX /srv/loose")
    made = controller.add_storage(hosts["h3"], "loose", "/srv/loose", retrieveExistingImages=True)

    def both():
        items = controller.get("/v1/images", params={"imageStorageId": made["id"]})["items"]
        return items if len(items) == 2 and all(i["status"] == "ready" for i in items) else None

    images = wait_until(both, 120, what="both loose files as images")
    assert {i["name"] for i in images} == {"disk", "rescue"}
    by_name = {i["name"]: i for i in images}
    assert controller.download_digest(by_name["rescue"]) == files.digest("rescue.iso")
    assert controller.download_digest(by_name["disk"]) == files.digest("disk.raw")
    assert files.digest("disk.qcow2") in lab.sh("h3", "sha256sum /srv/loose/disk.qcow2")
    controller.finish(controller.raw("DELETE", f"/v1/image-storages/{made['id']}", params={"force": "true"}).json())


def test_offline_tools_work_without_a_controller(lab, files):
    """On a directory of their own, and as root: what they write belongs to the store's owner."""
    lab.sh("h1", "mkdir -p /srv/offline && chown lamina /srv/offline")
    lab.put("h1", files.path("disk.qcow2"), "/srv/disk.qcow2")
    lab.sh("h1", "chmod a+r /srv/disk.qcow2")
    lab.exec("h1", "runuser", "-u", "lamina", "--", "/opt/lamina-agent/current/run", "store", "create", "/srv/offline")
    made = agent_tool(lab, "h1", "store", "add", "/srv/offline", "/srv/disk.qcow2", "--name", "offline", "--format", "qcow2").strip()
    assert agent_tool(lab, "h1", "store", "ls", "/srv/offline").split("\t") == [made, "qcow2", str(512 << 20), "offline\n"]
    agent_tool(lab, "h1", "store", "cat", "/srv/offline", "offline", "-o", "/srv/back.raw")
    assert files.digest("disk.raw") in lab.sh("h1", "sha256sum /srv/back.raw")
    assert "all well" in agent_tool(lab, "h1", "store", "verify", "/srv/offline")
    lab.sh("h1", "rm /srv/offline/lamina/index.sqlite*")
    agent_tool(lab, "h1", "store", "rebuild-index", "/srv/offline")
    owners = lab.sh("h1", "find /srv/offline/lamina ! -user lamina")
    assert owners == "", owners
    # One bit of one blob.
    lab.sh("h1", "f=$(find /srv/offline/lamina/blobs -type f | head -1); printf X | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null")
    damaged = lab.run("exec", "h1", "/opt/lamina-agent/current/run", "store", "verify", "/srv/offline", check=False)
    assert damaged.returncode == 1 and "blobs/" in damaged.stdout, damaged
    refused = lab.run("exec", "h1", "/opt/lamina-agent/current/run", "store", "cat", "/srv/offline", "offline", "-o", "/srv/bad.raw",
                      check=False)
    assert refused.returncode != 0 and lab.sh("h1", "ls /srv/bad.raw 2>&1", check=False).startswith("ls:"), "a part must not pass for the whole"
    lab.sh("h1", "rm -rf /srv/offline /srv/back.raw /srv/disk.qcow2")


def agent_port(lab, storage):
    return int(lab.sh("h1", f"grep -o '\"port\" *: *[0-9]*' /etc/lamina-agent/{storage['id']}/agent.json | grep -o '[0-9]*$'"))


def test_hostile_bytes_at_the_frame_port(controller, lab, hosts, storage):
    """Nothing without a certificate of ours gets as far as a frame; the agent lives on."""
    address = (hosts["h1"]["mgmt"], agent_port(lab, storage))
    with socket.create_connection(address, 5) as plain:
        plain.settimeout(15)
        plain.sendall(b"LMNA" + b"\xff" * 60)
        try:
            answer = plain.recv(4096)
        except ConnectionResetError:
            answer = b""
        # A TLS alert at the most (record type 21); never a frame.
        assert answer == b"" or answer[0] == 21, answer
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError, socket.timeout)):
            with socket.create_connection(address, 5) as plain:
                plain.settimeout(15)
                with context.wrap_socket(plain) as wrapped:
                    wrapped.sendall(b"LMNA" + b"\x01" * 60)
                    # TLS 1.3 tells of a missing certificate with the first read.
                    if not wrapped.recv(1):
                        raise ConnectionResetError
    slow = socket.create_connection(address, 5)
    slow.settimeout(30)
    began = time.monotonic()
    assert slow.recv(1) == b"" and time.monotonic() - began < 25, "a silent connection is ended by the handshake limit"
    slow.close()
    assert controller.get(f"/v1/image-storages/{storage['id']}")["status"] == "connected"


def test_agent_memory_is_bounded(controller, lab, storage, web, files):
    answer = controller.add_image(storage, "memory", {"url": f"{web}/big.raw"} if files.path("big.raw") else None, wait=False)
    controller.finish(answer)
    peak = int(lab.sh("h1", f"grep VmHWM /proc/$(systemctl show -p MainPID --value {unit(storage)})/status | tr -dc 0-9"))
    assert peak <= 256 << 10, f"{peak} KiB"
    controller.finish(controller.call("DELETE", f"/v1/images/{answer['image']['id']}"))
