//! What a file says about itself, read and not run: a whole ELF file, for this processor, with a plugin's metadata.
//!
//! A truncated library would end the process with SIGBUS inside `dlopen`, so every range that its headers name is
//! checked against the file's length first.

use super::error::{LoadError, PluginFile};
use lockstep_plugin_api::abi::handshake::{API_VERSION, METADATA_SECTION, Metadata};
use object::{
    Endianness, ReadRef,
    elf::{self, FileHeader64},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

/// The processor this host runs on, by its name in target triples.
pub(super) const PROCESSOR: &str = std::env::consts::ARCH;

/// More metadata than a plugin can have, so that a broken header does not ask for gigabytes.
const MAX_METADATA_BYTES: u64 = 1 << 20;

/// Checks the file and gives the metadata of the plugin in it.
pub(super) fn inspect<'d>(data: impl ReadRef<'d>, plugin: &PluginFile) -> Result<Metadata, LoadError> {
    let header = header(data, plugin)?;
    let endian = header.endian().expect("`parse` accepts known byte orders only");
    check_whole(header, endian, data, plugin)?;
    check_processor(header, endian, plugin)?;
    let metadata = read_metadata(header, endian, data, plugin)?;
    check_api(&metadata, plugin)?;
    Ok(metadata)
}

type Header = FileHeader64<Endianness>;

fn header<'d>(data: impl ReadRef<'d>, plugin: &PluginFile) -> Result<&'d Header, LoadError> {
    let n_bytes = data.len().unwrap_or(0);
    let start = data.read_bytes_at(0, n_bytes.min(64)).unwrap_or_default();
    let expected = size_of::<Header>() as u64;
    if start.starts_with(&elf::ELFMAG) && n_bytes < expected {
        return Err(LoadError::Truncated { plugin: plugin.clone(), found: n_bytes, expected });
    }
    Header::parse(data)
        .map_err(|_| LoadError::NotALibrary { plugin: plugin.clone(), found: describe(start).to_owned() })
}

fn describe(start: &[u8]) -> &'static str {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match start {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', 1, ..] => "a 32-bit ELF file",
        [0x7f, b'E', b'L', b'F', ..] => "a damaged ELF header",
        [b'M', b'Z', ..] => "a Windows library",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "a macOS library",
        text if text.iter().all(is_text) => "text",
        _ => "other data",
    }
}

fn check_whole<'d>(
    header: &Header,
    endian: Endianness,
    data: impl ReadRef<'d>,
    plugin: &PluginFile,
) -> Result<(), LoadError> {
    let found = data.len().unwrap_or(0);
    let check = |expected: u64| match expected {
        expected if expected > found => Err(LoadError::Truncated { plugin: plugin.clone(), found, expected }),
        _ => Ok(()),
    };
    let end = |offset: u64, bytes: u64| offset.saturating_add(bytes);
    let table_end =
        |offset: u64, n: u16, size: u16| if n == 0 { 0 } else { end(offset, u64::from(n) * u64::from(size)) };
    check(table_end(header.e_phoff(endian), header.e_phnum(endian), header.e_phentsize(endian)))?;
    check(table_end(header.e_shoff(endian), header.e_shnum(endian), header.e_shentsize(endian)))?;
    let damaged =
        |_| LoadError::NotALibrary { plugin: plugin.clone(), found: "a damaged ELF header".to_owned() };
    for segment in header.program_headers(endian, data).map_err(damaged)? {
        check(end(segment.p_offset(endian), segment.p_filesz(endian)))?;
    }
    for section in header.section_headers(endian, data).map_err(damaged)? {
        if section.sh_type(endian) != elf::SHT_NOBITS {
            check(end(section.sh_offset(endian), section.sh_size(endian)))?;
        }
    }
    Ok(())
}

fn check_processor(header: &Header, endian: Endianness, plugin: &PluginFile) -> Result<(), LoadError> {
    let machine = header.e_machine(endian);
    let found = match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_RISCV => "riscv64".to_owned(),
        elf::EM_PPC64 => "powerpc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        other => format!("ELF machine {}", other.0),
    };
    if found == PROCESSOR {
        return Ok(());
    }
    Err(LoadError::OtherProcessor { plugin: plugin.clone(), found, expected: PROCESSOR })
}

fn read_metadata<'d>(
    header: &Header,
    endian: Endianness,
    data: impl ReadRef<'d>,
    plugin: &PluginFile,
) -> Result<Metadata, LoadError> {
    let bad =
        |reason: String| LoadError::BadMetadata { plugin: plugin.clone(), reason, expected: API_VERSION };
    let sections = header.sections(endian, data).map_err(|error| bad(error.to_string()))?;
    let (_, section) = sections
        .section_by_name(endian, METADATA_SECTION.as_bytes())
        .ok_or_else(|| LoadError::NotAPlugin { plugin: plugin.clone() })?;
    if section.sh_size(endian) > MAX_METADATA_BYTES {
        return Err(bad(format!("{METADATA_SECTION} has {} bytes", section.sh_size(endian))));
    }
    let bytes = section.data(endian, data).map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))
}

fn check_api(metadata: &Metadata, plugin: &PluginFile) -> Result<(), LoadError> {
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    if major(&metadata.plugin_api) == major(API_VERSION) {
        return Ok(());
    }
    let plugin = plugin.known_as(&metadata.package, &metadata.version);
    Err(LoadError::OtherApi { plugin, found: metadata.plugin_api.clone(), expected: API_VERSION })
}
