"""Telling somebody: by mail on a server that is really there, and without a secret in any message."""

import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string, policy
from pathlib import Path

import pytest

from mlflow_sftp.monitor import delivery
from mlflow_sftp.monitor.alerts import Change, Finding
from mlflow_sftp.monitor.delivery import (
    Addressees,
    AddresseesError,
    DeliveryError,
    Messenger,
    mail,
    post,
)

CHANGE = Change("account", "failed", "auth_refused", "", "authenticate: no", "Authorize the key", 0.0)


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail as SMTP has it; refuses senders whose name begins with `refused`."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.lines: list[str] = []
        super().__init__(("127.0.0.1", 0), _Talk)


class _Talk(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip().upper():
            self.server.lines.append(line)
            if line.startswith("MAIL FROM:<REFUSED"):
                self._say("550 not you")
            elif line == "DATA":
                self._say("354 go on")
                text = ""
                while (part := self.rfile.readline().decode()) != ".\r\n":
                    text += part
                self.server.mails.append(text)
                self._say("250 taken")
            else:
                self._say("221 bye" if line == "QUIT" else "250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_mail_says_what_to_do(mail_server: MailServer) -> None:
    url = f"smtp://127.0.0.1:{mail_server.server_address[1]}"
    mail(Addressees("", url, "stack@example.com", ("a@example.com", "b@example.com")), "prod", [CHANGE])
    (text,) = mail_server.mails
    message = message_from_string(text, policy=policy.default)
    assert message["Subject"] == "prod: account auth_refused"
    assert message["To"] == "a@example.com, b@example.com"
    assert "Authorize the key" in message.get_content()


def test_mail_that_is_refused_is_told_without_the_password(mail_server: MailServer) -> None:
    port = mail_server.server_address[1]
    with pytest.raises(DeliveryError, match="answered 550"):
        mail(Addressees("", f"smtp://127.0.0.1:{port}", "refused@x.y", ("a@x.y",)), "prod", [CHANGE])
    with pytest.raises(DeliveryError) as raised:
        mail(Addressees("", "smtp://user:s3cret@127.0.0.1:1", "a@x.y", ("a@x.y",)), "prod", [CHANGE])
    assert "s3cret" not in str(raised.value)


def test_a_password_is_told_to_nobody_without_tls(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LOOPBACK", ())
    url = f"smtp://user:s3cret@127.0.0.1:{mail_server.server_address[1]}"
    with pytest.raises(DeliveryError, match="offers no TLS"):
        mail(Addressees("", url, "a@x.y", ("a@x.y",)), "prod", [CHANGE])
    assert not [line for line in mail_server.lines if line.startswith("AUTH")]


def test_an_address_with_a_line_break_is_an_error_of_the_delivery() -> None:
    with pytest.raises(DeliveryError, match="cannot be used"):
        mail(Addressees("", "smtp://127.0.0.1:1", "a@x.y\nBcc: e@x.y", ("a@x.y",)), "prod", [CHANGE])


def test_since_when_a_stack_is_watched_outlives_a_restart(tmp_path: Path) -> None:
    first = Messenger("prod", None, tmp_path / "told.json").watched_since
    assert Messenger("prod", None, tmp_path / "told.json").watched_since == first


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/s3cret",
        "http://user:s3cret@127.0.0.1:1/",
        "http://127.0.0.1:1/with space s3cret",
        "http://127.0.0.1:s3cret/",
        "file:///s3cret",
        "s3cret",
    ],
)
def test_a_webhook_that_cannot_be_reached_is_told_without_its_address(url: str) -> None:
    with pytest.raises(DeliveryError) as raised:
        post(url, {})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"url": 1, "mail_to": 5}'])
def test_a_file_that_says_nothing_of_use_is_told_once_until_it_does(
    text: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alerts = tmp_path / "alerts.json"
    messenger = Messenger("prod", alerts, tmp_path / "told.json")
    for expected in (1, 2):
        alerts.unlink(missing_ok=True)
        if text is not None:
            alerts.write_text(text)
        for _ in range(3):
            messenger.tell([], 0.0)
            assert messenger.readable is False
        assert caplog.text.count("alerts.json cannot be read") == expected
        assert "nobody is told" in caplog.text
        alerts.write_text("{}")
        messenger.tell([], 0.0)
        assert messenger.readable is True
    with pytest.raises(AddresseesError):
        Addressees.read(tmp_path / "missing")


def test_where_nobody_is_to_be_told_nothing_is_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messenger = Messenger("prod", None, tmp_path / "told.json")
    messenger.tell([Finding("account", "auth_refused")], 0.0)
    assert messenger.readable is None
    assert caplog.text == ""


def test_what_is_no_longer_watched_is_forgotten(tmp_path: Path) -> None:
    state = tmp_path / "told.json"
    told = {"mail": {"account": "x", "certificate old": "y"}, "webhook": {"certificate old": "y"}}
    state.write_text(json.dumps({"contract": 1, "watched_since": 5.0, "told": told}))
    messenger = Messenger("prod", None, state, watched={"account", "certificate new"})
    assert messenger.watched_since == 5.0
    kept = json.loads(state.read_text())
    assert kept["told"] == {"mail": {"account": "x"}}


def test_each_addressee_is_told_for_itself(mail_server: MailServer, tmp_path: Path) -> None:
    alerts, state = tmp_path / "alerts.json", tmp_path / "told.json"
    smtp = f"smtp://127.0.0.1:{mail_server.server_address[1]}"
    alerts.write_text(
        json.dumps(
            {"url": "http://127.0.0.1:1/", "smtp_url": smtp, "mail_from": "a@x.y", "mail_to": ["b@x.y"]}
        )
    )
    messenger = Messenger("prod", alerts, state)
    for _ in range(3):
        messenger.tell([Finding("account", "auth_refused", "seen", "do")], 0.0)
        assert messenger.untold == 1
    assert len(mail_server.mails) == 1
    assert json.loads(state.read_text())["told"] == {"mail": {"account": "auth_refused"}}
    state.write_text("{")
    Messenger("prod", alerts, state).tell([Finding("account", "auth_refused", "seen", "do")], 0.0)
    assert len(mail_server.mails) == 2
