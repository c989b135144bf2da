"""Docker for tests: the images that tests/prepare.yml builds, and its command line."""

import secrets
import subprocess


class DockerError(AssertionError):
    """docker failed; the text is what it said."""


def docker(*arguments: str) -> str:
    """Run docker and return what it prints, on both channels."""
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stdout}")
    return done.stdout.strip()


def unused_name() -> str:
    """Return a name for a container or project that no other test has."""
    return f"mlflow-sftp-test-{secrets.token_hex(4)}"


def remove_leftovers(name: str) -> None:
    """Remove what an interrupted test left: containers, networks and volumes whose names are `name` or begin with it.

    The playbooks would refuse them: they were made for the directory of a test that is over. A volume need not have the
    collection's label: docker run makes one without where a killed cutover goes on after the end of its test.
    """
    listings = {
        "container": ("ls", "--all", "--format={{.Names}}"),
        "network": ("ls", "--format={{.Name}}"),
        "volume": ("ls", "--format={{.Name}}"),
    }
    for kind, (command, *options) in listings.items():
        found = docker(kind, command, *options).splitlines()
        left = [each for each in found if each == name or each.startswith((f"{name}-", f"{name}_"))]
        if left:
            docker(kind, "rm", "--force", *left)


def base_image() -> str:
    """Return the name of the newest base image."""
    return _newest("freegee/base")


def sftp_servers_image() -> str:
    """Return the name of the newest image with SFTP servers and without Python."""
    return _newest("freegee/sftp-servers")


def systemd_image() -> str:
    """Return the name of the newest image in which systemd starts sshd."""
    return _newest("freegee/sshd-systemd")


def apache_image() -> str:
    """Return the name of the newest image with Apache, which tests/playbooks/apache_image.yml builds."""
    return _newest("freegee/apache")


def _newest(repository: str) -> str:
    images = docker("image", "ls", repository, "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert images, f"there is no image {repository}: ansible-playbook tests/prepare.yml builds it"
    return images[0]
