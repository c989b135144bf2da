"""Docker for tests: the base image that tests/prepare.yml builds, and its command line."""

import subprocess


def docker(*arguments: str) -> str:
    """Run docker and return what it prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def base_image() -> str:
    """Return the name of the newest base image."""
    images = docker("image", "ls", "freegee/base", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert images, "there is no base image: ansible-playbook tests/prepare.yml builds it"
    return images[0]
