"""The configuration that the role of the gateway writes for HAProxy."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.templates import trusted, variables_of

ROLE = Path(__file__).parents[3] / "roles" / "mlflow_gateway"
ALL = ["mlflow", "notebook", "experiment-service", "train"]


def written(**given: Any) -> str:
    variables = variables_of(ROLE) | {
        "ansible_managed": "Ansible managed",
        "mlflow_gateway_hostname": "mlflow.example.org",
        "mlflow_stack_services": ALL,
        "__mlflow_gateway_revision": "revision",
        **given,
    }
    template = trust_as_template((ROLE / "templates/haproxy.cfg.j2").read_text())
    return str(Templar(loader=DataLoader(), variables=variables).template(template))


def section(configuration: str, header: str) -> str:
    """Return the lines of a section, which ends where the next one begins."""
    found = re.search(rf"^{re.escape(header)}\n((?: .*\n|\n)*)", configuration, re.MULTILINE)
    assert found, header
    return found[1]


@pytest.mark.parametrize(
    ("notebook", "services", "backends", "known"),
    [
        ("/notebook", ALL, ["mlflow", "notebook"], "mlflow.example.org"),
        ("lab.example.org", ALL, ["mlflow", "notebook"], "mlflow.example.org lab.example.org"),
        ("", ALL, ["mlflow"], "mlflow.example.org"),
        ("/notebook", ["mlflow"], ["mlflow"], "mlflow.example.org"),
        ("lab.example.org", ["mlflow"], ["mlflow"], "mlflow.example.org"),
    ],
)
def test_requests_go_to_the_services_that_the_stack_offers(
    notebook: str, services: list[str], backends: list[str], known: str
) -> None:
    configuration = written(mlflow_gateway_notebook=notebook, mlflow_stack_services=services)
    assert re.findall(r"^backend (\w+)$", configuration, re.MULTILINE) == backends
    assert set(re.findall(r"^    (?:use|default)_backend (\w+)", configuration, re.MULTILINE)) == set(
        backends
    )
    assert f"unless {{ req.hdr(Host),field(1,:) -i {known} }}" in configuration


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "X-Scheme"]
)
def test_what_clients_say_in_the_place_of_a_proxy_is_dropped(header: str) -> None:
    assert f"    http-request del-header {header}\n" in section(written(), "frontend https")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_errors_of_haproxy_itself_say_when_to_try_again(status: int) -> None:
    (line,) = re.findall(rf"^    http-error status {status} .*$", written(), re.MULTILINE)
    assert '"error_code": "TEMPORARILY_UNAVAILABLE"' in line
    assert "hdr Retry-After 30" in line


def test_clients_do_not_take_the_connections_of_the_health_check() -> None:
    configuration = written(mlflow_gateway_max_connections=70)
    limits = {
        header: int(re.findall(r"^    maxconn (\d+)$", section(configuration, header), re.MULTILINE)[0])
        for header in ("global", "frontend http", "frontend https")
    }
    assert limits["frontend http"] == limits["frontend https"] == 70
    assert limits.pop("global") > sum(limits.values())
    assert "maxconn" not in section(configuration, "frontend revision")


@pytest.mark.parametrize("asked", ["certificate", "key"])
def test_of_a_file_that_holds_both_either_is_taken_alone(asked: str, tmp_path: Path) -> None:
    leaf, issuer = (pem("CERTIFICATE", text) for text in ("leaf", "issuer"))
    key = pem("EC PRIVATE KEY", "key")
    (tmp_path / "both.pem").write_text(f"subject=CN\n{key}{leaf}\n{issuer}")
    tasks = yaml.safe_load((ROLE / "tasks/install.yml").read_text())
    (read,) = [task for task in tasks if task["name"] == "Read certificate and key of the gateway"]
    files = dict.fromkeys(["certificate", "key"], str(tmp_path / "both.pem"))
    variables = {
        "__mlflow_gateway_files": files,
        "__mlflow_gateway_pem": trusted(read["vars"]["__mlflow_gateway_pem"]),
    }
    found = Templar(loader=DataLoader(), variables=variables).template(
        trusted(read["ansible.builtin.set_fact"][f"__mlflow_gateway_{asked}"])
    )
    assert found == {"certificate": f"{leaf}{issuer}", "key": key}[asked].rstrip()


THUMBPRINT = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"


@pytest.mark.parametrize("tls", ["own", "self"])
def test_who_orders_nothing_has_no_answer_for_an_acme_server(tls: str) -> None:
    assert "acme" not in written(mlflow_gateway_tls=tls).lower()


def test_a_challenge_is_answered_before_the_redirection_and_nothing_else_comes_back() -> None:
    configuration = written(mlflow_gateway_tls="acme", __mlflow_gateway_thumbprint=THUMBPRINT)
    rules = [line for line in section(configuration, "frontend http").splitlines() if "http-request" in line]
    answer, redirection = rules
    assert f'lf-string "%[path,field(4,/)].{THUMBPRINT}" if {{' in answer
    assert "redirect" in redirection
    (pattern,) = re.findall(r"path -m reg (\S+) }$", answer)
    start = "/.well-known/acme-challenge/"
    assert re.search(pattern, f"{start}LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0-_")
    others = ["", "a/b", "a.b", "%3Cscript%3E", "a<b", "a b", "../x", "a="]
    assert [each for each in others if re.search(pattern, start + each)] == []
    assert not re.search(pattern, f"/x{start}abc")
    assert not re.search(pattern, "/Xwell-known/acme-challenge/abc")
    (comment,) = re.findall("^.*ACME.*\n", configuration, re.MULTILINE)
    without = configuration.replace(f"{answer}\n", "").replace(comment, "")
    assert without == written(mlflow_gateway_tls="self")


def pem(kind: str, text: str) -> str:
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n"


def test_one_container_bears_each_name() -> None:
    for name, port in (("mlflow", 5000), ("notebook", 8888)):
        assert (
            f"\n    server-template {name} 1 {name}:{port} check inter 1s fall 3 rise 1 resolvers docker "
            "resolve-prefer ipv4 init-addr libc,none\n"
        ) in written()
    assert "srvtcpka" not in written()


def test_several_servers_bear_the_name_on_a_swarm() -> None:
    backend = {
        "name": "mlflow",
        "address": "mlflow:5000",
        "check": "/api",
        "host": "mlflow:5000",
        "authorization": "Basic Og==",
        "answers": "200,401",
        "lost_seconds": 20,
    }
    servers = {"servers": 8, "interval": "2s", "first_address": "none"}
    configuration = section(written(__mlflow_gateway_backends=[{**backend, **servers}]), "backend mlflow")
    assert (
        '    http-check send meth GET uri /api ver HTTP/1.1 hdr Host mlflow:5000 hdr Authorization "Basic Og=="\n'
        "    http-check expect status 200,401\n"
    ) in configuration
    assert "    server-template mlflow 8 mlflow:5000 check inter 2s fall 3 rise 1 " in configuration
    # At the servers, where HAProxy takes it.
    assert configuration.rstrip().endswith(" init-addr none tcp-ut 20s")


SHOWN = {"mlflow_stack_dask_dashboard": True}


@pytest.mark.parametrize("dashboard", ["/dask", "dask.example.org"])
def test_who_asks_for_no_dashboard_has_none(dashboard: str) -> None:
    assert "dask" not in written(mlflow_gateway_dask=dashboard)


@pytest.mark.parametrize(
    ("notebook", "dashboard", "known"),
    [
        ("/notebook", "/dask", "mlflow.example.org"),
        ("/notebook", "Dask.example.org", "mlflow.example.org dask.example.org"),
        ("lab.example.org", "/jobs/dask", "mlflow.example.org lab.example.org"),
        ("lab.example.org", "dask.example.org", "mlflow.example.org lab.example.org dask.example.org"),
    ],
)
def test_the_dashboard_is_at_its_own_place(notebook: str, dashboard: str, known: str) -> None:
    configuration = written(**SHOWN, mlflow_gateway_notebook=notebook, mlflow_gateway_dask=dashboard)
    assert f"unless {{ req.hdr(Host),field(1,:) -i {known} }}" in configuration
    rules = [line for line in section(configuration, "frontend https").splitlines() if "use_backend" in line]
    (rule,) = [line for line in rules if "use_backend dask" in line]
    if dashboard.startswith("/"):
        assert rule.endswith(f" if {{ path {dashboard} }} or {{ path_beg {dashboard}/ }}")
        # Another host's path is that host's.
        assert rules.index(rule) == len(rules) - 1
    else:
        assert rule.endswith(" if { req.hdr(Host),field(1,:) -i dask.example.org }")
        assert rules.index(rule) == 0
        assert "location https://dask.example.org%[pathq] if {" in section(configuration, "frontend http")


def test_nobody_looks_at_the_dashboard_without_the_password() -> None:
    backend = section(written(**SHOWN), "backend dask")
    rules = [line.strip() for line in backend.splitlines() if "http-request" in line]
    lookup = [rule for rule in rules if "l7-retry" not in rule]
    assert lookup[0] == "http-request auth realm dask unless { http_auth(dask) }"
    # The scheduler has no use for it.
    assert lookup[1] == "http-request del-header Authorization"
    for name in ("mlflow", "notebook"):
        assert "auth" not in section(written(**SHOWN), f"backend {name}")
    # Of the password, not even the hash: others may read the file.
    assert "userlist" not in written(**SHOWN)


def test_the_gateway_takes_no_other_server_for_the_scheduler() -> None:
    (server,) = [
        line for line in section(written(**SHOWN), "backend dask").splitlines() if "server-template" in line
    ]
    assert " dask 1 dask-scheduler:8787 check " in server
    assert (
        " ssl verify required sni str(dask-scheduler) check-sni dask-scheduler ssl-min-ver TLSv1.3" in server
    )
    assert " ca-file /etc/mlflow_gateway/dask.pem" in server
    # With a certificate of that authority it would run code.
    assert " crt " not in server


@pytest.mark.parametrize(
    ("dashboard", "below"), [("/dask", "/dask"), ("/a.b", "/a.b"), ("dask.example.org", "")]
)
def test_of_the_dashboard_only_what_is_looked_at_is_there(dashboard: str, below: str) -> None:
    backend = section(written(**SHOWN, mlflow_gateway_dask=dashboard), "backend dask")
    (rule,) = [line for line in backend.splitlines() if " 404 " in line]
    (pattern,) = re.findall(r" unless { method GET HEAD } { path -m reg (\S+) }$", rule)
    shown = ["status", "status/ws", "workers", "profile-server", "individual-task-stream/ws", "info"]
    shown += ["info/main/workers.html", "static/js/bokeh.min.js", "statics/css/base.css"]
    hidden = [
        "",
        "hardware",
        "hardware/ws",
        "api/v1/retire_workers",
        "json/identity.json",
        "proxy/8787/worker/status",
    ]
    hidden += [
        "jupyter",
        "jupyter/lab",
        "metrics",
        "eventstream",
        "sitemap.json",
        "health",
        "status/../hardware",
    ]
    hidden += ["hardwar%65", "statusx", "status/ws/x", "individual-plots.json"]
    assert [each for each in shown if not re.search(pattern, f"{below}/{each}")] == []
    assert [each for each in hidden if re.search(pattern, f"{below}/{each}")] == []
    assert not re.search(pattern, "/axb/status")
    assert not re.search(pattern, f"/x{below}/status")
    origin = (
        f"https://{'' if below else 'dask.example.org'}{'mlflow.example.org' if below else ''}{below}/status"
    )
    assert f"    http-request redirect location {origin} if {{ path " in backend
