//! The guest's whole file system: compressed archives one after the other, which the kernel unpacks in turn.
//!
//! The first layer holds tools and `/init`, the second the modules of one kernel, the third the files of one run.
//! Only the third is made anew each time; the others are cached under a key that changes with what is in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use super::kernel::Kernel;
use super::modules::{WANTED, load_order, options};
use crate::host::cache::Cache;
use crate::host::process::{capture, system, which};

/// Programs a guest has; busybox comes first. dash is its shell, because busybox's own runs busybox's `ip` whatever
/// `PATH` says.
const TOOLS: [&str; 9] = ["busybox", "dash", "ip", "tc", "ss", "nft", "conntrack", "bpftool", "tmux"];
/// Tables that the tools look up, where this machine has them: names, what a terminal understands, what is a letter.
const TABLES: [&str; 5] = [
    "etc/protocols",
    "etc/services",
    "usr/lib/locale/C.utf8/LC_CTYPE",
    "lib/terminfo/x/xterm-256color",
    "lib/terminfo/s/screen-256color",
];
const INIT: &str = include_str!("init.sh");
/// To be raised when the way a layer is laid out changes.
const LAYOUT: u32 = 1;

/// The layer of tools and `/init`.
pub fn base_layer(cache: &Cache) -> Result<PathBuf> {
    let tools: Vec<PathBuf> = TOOLS
        .iter()
        .map(|tool| which(tool).with_context(|| format!("{tool} is not installed: run `cargo xtask setup`")))
        .collect::<Result<_>>()?;
    let mut hasher = DefaultHasher::new();
    (LAYOUT, INIT).hash(&mut hasher);
    for tool in &tools {
        let metadata = fs::metadata(tool).with_context(|| format!("cannot read {}", tool.display()))?;
        (tool, metadata.len(), metadata.mtime()).hash(&mut hasher);
    }
    cached_layer(cache, "base", hasher.finish(), |archive| write_base(archive, &tools))
}

/// The layer of a kernel's modules, uncompressed and listed in load order in `/mods/order`.
pub fn module_layer(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (LAYOUT, WANTED.map(|module| (module, options(module))), &kernel.release).hash(&mut hasher);
    cached_layer(cache, &format!("modules-{}", kernel.name), hasher.finish(), |archive| {
        let index =
            fs::read_to_string(kernel.modules.join("modules.dep")).context("cannot read modules.dep")?;
        let mut order = String::new();
        for path in load_order(&index, &WANTED) {
            let file = path.rsplit('/').next().unwrap_or(&path);
            let name = file.split_once(".ko").map_or(file, |(stem, _)| stem);
            let content = decompressed(&kernel.modules.join(&path))?;
            archive.file(&format!("mods/{name}.ko"), 0o644, &content)?;
            order.push_str(&format!("{name}.ko{}\n", options(name)));
        }
        archive.file("mods/order", 0o644, order.as_bytes())?;
        Ok(())
    })
}

/// Writes the layer of one run: `/test/run` and the files, given as the path here and the path in the guest.
pub fn test_layer(target: &Path, run: &str, files: &[(PathBuf, String)]) -> Result<()> {
    write_layer(target, |archive| {
        archive.file("test/run", 0o755, run.as_bytes())?;
        for (here, there) in files {
            add_file(archive, here, there)?;
        }
        Ok(())
    })
}

/// Joins layers into the one file QEMU takes.
pub fn join(target: &Path, layers: &[&Path]) -> Result<()> {
    let mut output = File::create(target).context("cannot create the initramfs")?;
    for layer in layers {
        let mut input = File::open(layer).with_context(|| format!("cannot open {}", layer.display()))?;
        std::io::copy(&mut input, &mut output).context("cannot write the initramfs")?;
    }
    Ok(())
}

fn cached_layer<F>(cache: &Cache, name: &str, key: u64, fill: F) -> Result<PathBuf>
where
    F: FnOnce(&mut Archive<Box<dyn Write>>) -> Result<()>,
{
    let entry = PathBuf::from("layers").join(format!("{name}-{key:016x}.gz"));
    let path = cache.path(&entry);
    if path.is_file() {
        return Ok(path);
    }
    let scratch = cache.scratch()?;
    let made = scratch.path().join("layer");
    write_layer(&made, fill)?;
    let published = cache.publish(&made, entry)?;
    remove_older(&published, name);
    Ok(published)
}

/// Removes the layers called `name` other than `newest`: nothing will ask for them again.
fn remove_older(newest: &Path, name: &str) {
    let Some(folder) = newest.parent() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let same_name = file.to_string_lossy().rsplit_once('-').is_some_and(|(stem, _)| stem == name);
        if same_name && entry.path() != newest {
            // A leftover costs space, nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Fills an archive that gzip compresses into `target`. Fast and large is right: it is unpacked under emulation.
fn write_layer<F>(target: &Path, fill: F) -> Result<()>
where
    F: FnOnce(&mut Archive<Box<dyn Write>>) -> Result<()>,
{
    let output = File::create(target).with_context(|| format!("cannot create {}", target.display()))?;
    let mut gzip = Command::new("gzip")
        .args(["-1", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(output)
        .spawn()
        .context("cannot run gzip")?;
    let input: Box<dyn Write> = Box::new(gzip.stdin.take().context("gzip has no input")?);
    let mut archive = Archive::new(input);
    fill(&mut archive)?;
    drop(archive.finish().context("cannot write an initramfs layer")?);
    if !gzip.wait().context("cannot wait for gzip")?.success() {
        bail!("gzip failed: is there space left for {}?", target.display());
    }
    Ok(())
}

fn write_base<W: Write>(archive: &mut Archive<W>, tools: &[PathBuf]) -> Result<()> {
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        archive.symlink(link, target)?;
    }
    for folder in ["dev", "proc", "sys", "run", "tmp", "test", "mods", "var", "usr/sbin", "usr/lib64"] {
        archive.directory(folder)?;
    }
    archive.symlink("var/run", "../run")?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;
    archive.file("etc/group", 0o644, b"root:x:0:\n")?;
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost guest\n::1 localhost\n")?;
    archive.file("etc/nsswitch.conf", 0o644, b"hosts: files\nprotocols: files\nservices: files\n")?;
    for table in TABLES {
        let path = Path::new("/").join(table);
        if path.is_file() {
            add_file(archive, &path, &in_usr(table))?;
        }
    }
    let mut libraries = BTreeSet::new();
    for (name, tool) in TOOLS.iter().zip(tools) {
        add_file(archive, tool, &format!("usr/bin/{name}"))?;
        libraries.extend(shared_libraries(tool)?);
    }
    for library in libraries {
        add_file(archive, Path::new(&library), &in_usr(&library))?;
    }
    archive.symlink("usr/bin/sh", "dash")?;
    let busybox = tools.first().context("busybox is the first tool")?;
    for applet in capture(Command::new(busybox).arg("--list"))?.lines() {
        // What is in the archive already stays: the first of two entries of a name wins.
        archive.symlink(&format!("usr/bin/{applet}"), "busybox")?;
    }
    Ok(())
}

fn add_file<W: Write>(archive: &mut Archive<W>, here: &Path, there: &str) -> Result<()> {
    let read = || -> std::io::Result<_> { Ok((fs::read(here)?, fs::metadata(here)?.permissions().mode())) };
    let (content, mode) = read().with_context(|| format!("cannot read {}", here.display()))?;
    archive.file(there, mode & 0o755, &content).context("cannot write an initramfs layer")
}

/// The libraries a program loads; none if it is static, which ldd calls an error.
fn shared_libraries(program: &Path) -> Result<Vec<String>> {
    let output = system("ldd").arg(program).output().context("cannot run ldd")?;
    Ok(parse_ldd(&String::from_utf8_lossy(&output.stdout)))
}

/// Every absolute path in ldd's output: `name => path (address)`, or `path (address)` for the loader.
fn parse_ldd(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| line.rsplit_once(" => ").map_or(Some(line), |(_, path)| Some(path)))
        .filter_map(|rest| rest.trim().split_once(" ("))
        .map(|(path, _)| path.to_owned())
        .filter(|path| path.starts_with('/'))
        .collect()
}

/// The guest's `/lib` is a link into `/usr`, and an archive entry below a link must be under its real name.
fn in_usr(path: &str) -> String {
    let path = path.trim_start_matches('/');
    if path.starts_with("lib") { format!("usr/{path}") } else { path.to_owned() }
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let output = system(program)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}: remove that kernel from the cache and try again", path.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::{in_usr, parse_ldd};

    #[test]
    fn ldd_output_is_read() {
        let output = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                      \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(parse_ldd(output), ["/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(parse_ldd("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn libraries_move_into_usr() {
        assert_eq!(in_usr("/lib64/ld-linux-x86-64.so.2"), "usr/lib64/ld-linux-x86-64.so.2");
        assert_eq!(in_usr("/usr/lib/x86_64-linux-gnu/libc.so.6"), "usr/lib/x86_64-linux-gnu/libc.so.6");
    }
}
