#!/bin/sh
# A Chromium for the browser tests: one that is there, Debian's, or Playwright's own.
set -e
python=$1
for name in "${CHROMIUM_PATH:-}" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if ls "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-* >/dev/null 2>&1; then exit 0; fi
root=""
if [ "$(id -u)" != 0 ]; then root="sudo -n"; fi
if command -v apt-get >/dev/null 2>&1 && $root true 2>/dev/null; then
    echo "Installing Debian's Chromium for the browser tests"
    if $root apt-get update -qq && $root apt-get install -y -qq chromium >/dev/null; then exit 0; fi
fi
echo "Installing Playwright's Chromium for the browser tests"
"$python" -m playwright install --with-deps chromium
