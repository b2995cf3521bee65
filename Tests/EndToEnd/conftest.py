"""Fixtures: the lab's hosts, one controller for most tests, real files. Run with Tests/EndToEnd/run."""

import os
import pathlib
import subprocess

import pytest

from lamina import Controller, Lab, sha256_of


@pytest.fixture(scope="session")
def lab():
    return Lab()


@pytest.fixture(scope="session")
def hosts(lab):
    return lab.hosts()


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("lamina")


@pytest.fixture(scope="session")
def controller(scratch, lab):
    made = Controller(scratch / "main")
    made.initialise()
    made.start()
    made.log_in()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def controller_is_alive(request):
    yield
    if "controller" in request.fixturenames:
        made = request.getfixturevalue("controller")
        assert made.process.poll() is None, "the controller died: " + made.log.read_text()[-3000:]


@pytest.fixture(scope="session")
def storage(controller, hosts):
    """A storage on a free disk of h1, for the tests that only need one."""
    host = hosts["h1"]
    return controller.add_storage(host, "storage-1", "/lamina", host["disks"][0])


class Files:
    """Real files to take in; made once."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        folder.mkdir()

    def path(self, name):
        made = self.folder / name
        if not made.exists():
            getattr(self, "make_" + name.replace(".", "_").replace("-", "_"))(made)
        return made

    def digest(self, name):
        return sha256_of(self.path(name))

    def make_disk_raw(self, made):
        """An ext4 file system with this machine's own files in it, sparse: what a small guest's disk looks like."""
        os.truncate(os.open(made, os.O_CREAT | os.O_RDWR, 0o644), 512 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-d", "/usr/lib/python3", "-L", "root", made], check=True)

    def make_disk_qcow2(self, made):
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", "-c", self.path("disk.raw"), made], check=True)

    def make_disk_vmdk(self, made):
        subprocess.run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", self.path("disk.raw"), made],
                       check=True)

    def make_big_raw(self, made):
        """Half a gigabyte that neither compresses nor repeats: ingest of it takes long enough to be interrupted."""
        with open(made, "wb") as out, open("/dev/urandom", "rb") as source:
            for _ in range(512):
                out.write(source.read(1 << 20))

    def make_rescue_iso(self, made):
        made.write_bytes(pathlib.Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso").read_bytes())


@pytest.fixture(scope="session")
def files(scratch):
    return Files(scratch / "files")


@pytest.fixture(scope="session")
def web(files, scratch):
    """nginx in the lab's management network, serving the files; answers its address."""
    folder = scratch / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 64; }}
http {{ access_log {folder}/access.log; default_type application/octet-stream;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 10.77.1.1:8080; root {files.folder};
    location /slow/ {{ alias {files.folder}/; limit_rate 40m; }}
    location /page.qcow2 {{ default_type text/html; return 200 '<!DOCTYPE html><html><body>Please log in</body></html>'; }}
    location /to-file {{ return 302 file:///etc/passwd; }}
    location /to-metadata {{ return 302 http://169.254.169.254/latest/meta-data; }}
    location /loop {{ return 302 /loop; }}
  }} }}""")
    server = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
    yield "http://10.77.1.1:8080"
    server.terminate()
    server.wait(10)
