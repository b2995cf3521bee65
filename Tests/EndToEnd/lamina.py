"""What the end-to-end tests say to a controller: its HTTP API, its command line and its processes, as an admin would."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time
import uuid

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / ".build" / "release"
LAB_TOOL = ROOT / "Tests" / "Lab" / "lab"
ADMIN_PASSWORD = "correct horse battery staple"


def wait_until(condition, seconds=30, every=0.1, what="the condition"):
    """Polls a condition with a bound; answers its first true value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(every)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Lab:
    """The hosts; see Tests/Lab."""

    def run(self, *words, check=True, text=True, **more):
        return subprocess.run([str(LAB_TOOL), *map(str, words)], check=check, text=text, capture_output=True, **more)

    def hosts(self):
        return {host["name"]: host for host in json.loads(self.run("hosts", "--json").stdout)}

    def exec(self, host, *command, check=True):
        return self.run("exec", host, *command, check=check).stdout

    def sh(self, host, script, check=True):
        return self.exec(host, "sh", "-c", script, check=check)

    def written(self, host):
        """Every file that differs from the machine's own: path, size, mode, owner; logs and what lasts until a boot left out."""
        upper = pathlib.Path(self.folder(host)) / "upper"
        found = set()
        for path in upper.rglob("*"):
            name = str(path.relative_to(upper))
            if not name.startswith(("var/log", "var/lib/systemd", "run", "tmp", "root/.cache")):
                stat = path.lstat()
                found.add((name, stat.st_size if path.is_file() else 0, stat.st_mode, stat.st_uid))
        return found

    def folder(self, host):
        """Where the lab keeps a host's own files."""
        return pathlib.Path(os.environ["LAB_HOME"]) / os.environ["LAB"] / "hosts" / host

    def put(self, host, source, target):
        self.run("put", host, source, target)


class Problem(AssertionError):
    """An answer that is not what the test wanted."""


class Controller:
    """A real controller process in the lab's management network."""

    def __init__(self, folder, address="10.77.1.1", port=8443):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "controller"
        self.url = f"https://{address}:{port}"
        self.listen = f"{address}:{port}"
        self.process = None
        self.log = self.folder / "controller.log"
        self.session = requests.Session()
        self.session.verify = str(self.data / "ca.pem")
        self.session.trust_env = False

    def initialise(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "admin-password"
        secret.write_text(ADMIN_PASSWORD + "\n")
        secret.chmod(0o600)
        subprocess.run(
            [BIN / "lamina-controller", "init", "--data-dir", self.data, "--admin-password-file", secret], check=True)

    def start(self, environment=None):
        bundles = sorted((ROOT / ".build" / "bundle").glob("lamina-agent-*.tar.gz"))
        assert bundles, "deploy/bundle has made no bundle"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / "lamina-controller", "serve", "--data-dir", self.data, "--listen", self.listen,
                 "--bundle", bundles[-1]],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        wait_until(self.is_ready, 60, what="the controller's /readyz")

    def is_ready(self):
        assert self.process.poll() is None, "the controller ended: " + self.log.read_text()[-3000:]
        try:
            return self.session.get(self.url + "/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def log_in(self, username="admin", password=ADMIN_PASSWORD):
        answer = self.call("POST", "/v1/sessions", {"username": username, "password": password}, token=None)
        self.session.headers["Authorization"] = "Bearer " + answer["token"]
        return answer

    def raw(self, method, path, body=None, **more):
        headers = dict(more.pop("headers", {}))
        if method == "POST" and "Idempotency-Key" not in headers and more.pop("keyed", True):
            headers["Idempotency-Key"] = str(uuid.uuid4())
        return self.session.request(method, self.url + path, json=body, headers=headers, timeout=more.pop("timeout", 60),
                                    **more)

    def call(self, method, path, body=None, expect=None, token=True, **more):
        """An answer's JSON; `expect` is a status that must come (else any 2xx)."""
        answer = self.raw(method, path, body, **more)
        fits = answer.status_code == expect if expect else answer.ok
        if not fits:
            raise Problem(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body, **more)

    def refused(self, method, path, body, status, code, field=None):
        """Asserts a problem+json with this status, code and field; answers it."""
        answer = self.raw(method, path, body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.headers
        problem = answer.json()
        assert problem["code"] == code, problem
        if field is not None:
            assert problem["field"] == field, problem
        assert problem["detail"], problem
        return problem

    def job(self, job_id):
        return self.get(f"/v1/jobs/{job_id}")

    def finish(self, answer, state="succeeded", seconds=300):
        """Waits for the job of a 202 answer; asserts its end state; answers the job."""
        job = answer["job"] if "job" in answer else answer

        def ended():
            try:
                now = self.job(job["id"])
            except requests.RequestException:
                return None
            return now if now["state"] in ("succeeded", "failed", "cancelled") else None

        now = wait_until(ended, seconds, 0.2, f"the end of job {job['type']}")
        assert now["state"] == state, json.dumps(now, indent=1)
        return now

    # What most tests need.
    def data_center(self, name="dc-1"):
        found = self.get("/v1/data-centers", params={"name": name})["items"]
        return found[0] if found else self.post("/v1/data-centers", {"name": name}, expect=201)

    def storage_spec(self, host, name, mount_path, disk=None, **more):
        spec = {
            "type": "standalone", "name": name, "dataCenterId": self.data_center()["id"],
            "host": {"address": host["mgmt"], "sshPort": host["port"], "username": "root",
                     "password": host["root_password"]},
            "disk": {"method": "freeDisk", "device": disk} if disk else {"method": "localDirectory"},
            "mountPath": mount_path,
        }
        spec.update(more)
        return spec

    def add_storage(self, *words, **more):
        answer = self.post("/v1/image-storages", self.storage_spec(*words, **more), expect=202)
        self.finish(answer)
        return self.get(f"/v1/image-storages/{answer['imageStorage']['id']}")

    def add_image(self, storage, name, source, format="raw", type="disk", wait=True, **more):
        body = {"imageStorageId": storage["id"], "name": name, "type": type, "format": format, "source": source, **more}
        answer = self.post("/v1/images", body, expect=202)
        if not wait:
            return answer
        self.finish(answer)
        return self.get(f"/v1/images/{answer['image']['id']}")

    def download_digest(self, image, format="raw"):
        digest = hashlib.sha256()
        with self.session.get(f"{self.url}/v1/images/{image['id']}/content", params={"format": format}, stream=True,
                              timeout=300) as answer:
            assert answer.status_code == 200, answer.text
            for piece in answer.iter_content(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def cli_environment(self):
        token = self.session.headers.get("Authorization", "").removeprefix("Bearer ")
        return {**os.environ, "LAMINA_URL": self.url, "LAMINA_CA": str(self.data / "ca.pem"), "LAMINA_TOKEN": token,
                "HOME": str(self.folder)}

    def cli(self, *words, check=True, stdin=None, environment=None, folder=None):
        """Runs `lamina` with a token of the environment; answers the finished process."""
        env = {**self.cli_environment(), **(environment or {})}
        done = subprocess.run([BIN / "lamina", *map(str, words)], input=stdin, text=True, capture_output=True, env=env, cwd=folder,
                              timeout=600)
        if check and done.returncode != 0:
            raise Problem(f"lamina {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done
