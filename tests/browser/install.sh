#!/usr/bin/env bash
# Installs the browser that the page of `hopguard audit trace --html` is checked in: Debian's own Chromium, and the
# driver of exactly that version. Debian keeps one version per release, so the two pin each other; their newest
# security update is taken on purpose.
set -euo pipefail
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
version="$(apt-cache policy chromium | sed -n 's/^  Candidate: //p')"
apt-get install -y --no-install-recommends "chromium=$version" "chromium-driver=$version"
