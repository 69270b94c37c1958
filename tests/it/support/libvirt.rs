//! A real libvirt with QEMU that emulates the processor, and guests of a real kernel with busybox, which start within
//! seconds, serve HTTP, and shut down when their power button is pressed.
//!
//! The daemons are those of a user's session, with every file in one folder; they never run as root. A keeper (a shell
//! that hears of our death by the kernel's parent-death signal) ends guests and daemons and removes the folder when
//! this process ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const UP_WITHIN: Duration = Duration::from_secs(60);

/// In the order in which they must be loaded.
const MODULES: [&str; 11] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "evdev",
    "button",
];

/// What the guest runs first. Its agent speaks the part of the guest agent's language that tells addresses.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in MODULES; do insmod /lib/$module.ko; done
ifconfig lo 127.0.0.1
ifconfig eth0 10.0.2.15 netmask 255.255.255.0
cat /proc/sys/kernel/random/boot_id >/www/index.html
httpd -p 80 -h /www
(while :; do usleep 50000; [ ! -e /dev/vport0p1 ] || sh /agent <>/dev/vport0p1 >&0; done) &
exec acpid -d -l /dev/console -c /etc/acpi
"#;

/// One line in, one line out, as QEMU's guest agent has it.
const AGENT: &str = r#"while read -r line; do
  id=${line##*'"id":'}; id=${id%%\}*}
  case $line in
    *guest-sync*) echo "{\"return\": $id}" ;;
    *guest-network-get-interfaces*)
      read -r mac </sys/class/net/eth0/address
      echo '{"return": [{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}]}, {"name": "eth0", "hardware-address": "'$mac'", "ip-addresses": [{"ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24}]}]}' ;;
    *) echo '{"error": {"class": "CommandNotFound", "desc": "not here"}}' ;;
  esac
done
"#;

/// A running libvirt.
pub(crate) struct Libvirt {
    folder: PathBuf,
    /// What `virsh --connect` takes.
    pub(crate) uri: String,
}

/// What is in a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// The kernel, an app on port 80 that is reached at this port of 127.0.0.1, and an agent.
    App(u16),
    /// Nothing: the machine waits for a disk, and hears no power button.
    Nothing,
}

/// The one that tests share, started on first use.
pub(crate) fn libvirt() -> &'static Libvirt {
    static LIBVIRT: OnceLock<Libvirt> = OnceLock::new();
    LIBVIRT.get_or_init(Libvirt::start)
}

impl Libvirt {
    /// One of the test's own.
    pub(crate) fn start() -> Libvirt {
        let folder = tempfile::tempdir().expect("a folder for libvirt").keep();
        for inner in ["home", "run", "config/libvirt", "cache", "data", "guest"] {
            std::fs::create_dir_all(folder.join(inner)).expect("a folder");
        }
        let settings = "security_driver = \"none\"\nnamespaces = []\n";
        std::fs::write(folder.join("config/libvirt/qemu.conf"), settings).expect("a file");
        make_guest(&folder.join("guest"));
        let socket = folder.join("run/libvirt/libvirt-sock");
        let libvirt = Libvirt {
            uri: format!("qemu:///session?socket={}", socket.display()),
            folder,
        };
        libvirt.keep();
        let deadline = Instant::now() + UP_WITHIN;
        while !libvirt.try_virsh(&["version"]).status.success() {
            let log = std::fs::read_to_string(libvirt.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "libvirt did not come up:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        libvirt
    }

    fn keep(&self) {
        let (dir, uri) = (self.folder.display(), &self.uri);
        let keeper = format!(
            "dir={dir}; export HOME=$dir/home XDG_RUNTIME_DIR=$dir/run XDG_CONFIG_HOME=$dir/config \
             XDG_CACHE_HOME=$dir/cache XDG_DATA_HOME=$dir/data; exec >$dir/log 2>&1; as=; \
             [ $(id -u) != 0 ] || {{ as='setpriv --reuid=65534 --regid=65534 --clear-groups'; \
             chown -R 65534:65534 $dir; }}; \
             end() {{ touch $dir/end; for id in $(virsh -q -c '{uri}' list --id); do \
             virsh -q -c '{uri}' destroy $id; done; kill $libvirtd $virtlogd; }}; trap end TERM; \
             $as virtlogd --pid-file $dir/run/virtlogd.pid & virtlogd=$!; \
             until [ -e $dir/end ]; do \
             $as libvirtd --pid-file $dir/run/libvirtd.pid & libvirtd=$!; wait $libvirtd; done; \
             wait $libvirtd $virtlogd; rm -rf --one-file-system $dir"
        );
        // The signal comes when the thread that spawned ends, so this one never does.
        std::thread::spawn(move || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "sh", "-c", &keeper]);
            let child = command.stdin(Stdio::null()).spawn();
            let _ = child.expect("setpriv is there").wait();
            loop {
                std::thread::park();
            }
        });
    }

    /// Ends the daemon; its keeper starts it again, and the guests run on meanwhile.
    pub(crate) fn restart(&self) {
        let pid = std::fs::read_to_string(self.folder.join("run/libvirtd.pid")).expect("it runs");
        let killed = Command::new("kill").arg(pid.trim()).status();
        assert!(killed.expect("kill runs").success());
        let deadline = Instant::now() + UP_WITHIN;
        let came = || std::fs::read_to_string(self.folder.join("run/libvirtd.pid"));
        while came().is_ok_and(|now| now == pid) || !self.try_virsh(&["version"]).status.success() {
            assert!(Instant::now() < deadline, "libvirt did not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn try_virsh(&self, arguments: &[&str]) -> Output {
        let mut virsh = Command::new("virsh");
        virsh.env("LC_ALL", "C");
        virsh
            .args(["--quiet", "--connect", &self.uri])
            .args(arguments);
        virsh.output().expect("libvirt-clients is installed")
    }

    /// Runs virsh; it must succeed. Its output, trimmed.
    pub(crate) fn virsh(&self, arguments: &[&str]) -> String {
        let done = self.try_virsh(arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// The state of a domain and its reason.
    pub(crate) fn state(&self, domain: &str) -> String {
        self.virsh(&["domstate", "--reason", "--domain", domain])
    }

    /// Defines a domain that is off, and returns its name, which begins with this.
    pub(crate) fn define(&self, name: &str, guest: Guest) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let number = name.rsplit('-').next().unwrap_or_default();
        let file = self.folder.join(format!("{number}.xml"));
        std::fs::write(&file, self.domain(&name, guest)).expect("a file");
        self.virsh(&["define", "--file", &file.to_string_lossy()]);
        name
    }

    fn domain(&self, name: &str, guest: Guest) -> String {
        let dir = self.folder.join("guest");
        let dir = dir.display();
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        let (kernel, devices, arguments) = match guest {
            Guest::Nothing => (String::new(), String::new(), String::new()),
            Guest::App(port) => (
                format!(
                    "<kernel>{dir}/vmlinuz</kernel><initrd>{dir}/initrd</initrd>\
                     <cmdline>console=ttyS0 quiet panic=-1</cmdline>"
                ),
                "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                    .to_owned(),
                format!(
                    "<qemu:commandline><qemu:arg value='-netdev'/>\
                     <qemu:arg value='user,id=n0,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:80'/>\
                     <qemu:arg value='-device'/>\
                     <qemu:arg value='virtio-net-pci,netdev=n0,addr=0x10'/></qemu:commandline>"
                ),
            ),
        };
        format!(
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\
             <name>{name}</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64'>hvm</type>{kernel}</os><features><acpi/></features>\
             <devices>{devices}<memballoon model='none'/></devices>{arguments}</domain>"
        )
    }

    /// Ends and removes a domain; one that is gone already is well.
    pub(crate) fn remove(&self, domain: &str) {
        self.try_virsh(&["destroy", "--domain", domain]);
        self.try_virsh(&["undefine", "--managed-save", "--domain", domain]);
    }
}

/// Where tests/run puts the kernel and its modules.
fn kernel() -> PathBuf {
    let set = std::env::var_os("ANTEROOM_KERNEL").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/kernel"))
}

fn make_guest(to: &Path) {
    let kernel = kernel();
    let root = to.join("root");
    for inner in ["bin", "proc", "sys", "dev", "lib", "www", "etc/acpi/PWRF"] {
        std::fs::create_dir_all(root.join(inner)).expect("a folder");
    }
    let copy = |from: PathBuf, to: PathBuf| {
        let copied = std::fs::copy(&from, to);
        copied.unwrap_or_else(|error| panic!("{}: {error}; run tests/run", from.display()));
    };
    copy(kernel.join("vmlinuz"), to.join("vmlinuz"));
    for module in MODULES {
        let file = format!("{module}.ko");
        copy(kernel.join(&file), root.join("lib").join(&file));
    }
    let init = INIT.replace("MODULES", &MODULES.join(" "));
    let power_off = "#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n";
    std::fs::write(root.join("init"), init).expect("a file");
    std::fs::write(root.join("agent"), AGENT).expect("a file");
    std::fs::write(root.join("etc/acpi/PWRF/00000080"), power_off).expect("a file");
    let pack = "cp $(command -v busybox) root/bin/busybox && chmod 755 root/init root/etc/acpi/PWRF/* && \
                cd root && find . | busybox cpio -o -H newc >../initrd";
    let packed = Command::new("sh")
        .args(["-c", pack])
        .current_dir(to)
        .output();
    let packed = packed.expect("sh runs");
    let said = String::from_utf8_lossy(&packed.stderr);
    assert!(packed.status.success(), "{said}");
}
