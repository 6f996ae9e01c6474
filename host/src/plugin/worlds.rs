//! Does a component fit the contract? Says in words what is missing or different, before anything is compiled.

use serde::{Deserialize, Serialize};
use wasmparser::Parser;
use wit_component::DecodedWasm;
use wit_parser::{Function, InterfaceId, Resolve, Type, TypeDefKind, UnresolvedPackageGroup, WorldItem, WorldKey};

/// The contract as this host was built with it.
pub(super) const CONTRACT: [(&str, &str); 6] = [
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("describe.wit", include_str!("../../../wit/describe.wit")),
    ("http.wit", include_str!("../../../wit/http.wit")),
    ("websocket.wit", include_str!("../../../wit/websocket.wit")),
    ("log.wit", include_str!("../../../wit/log.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

const PACKAGE: &str = "feedgate:provider";

/// The WASI interfaces that have an empty implementation.
const WASI: [&str; 6] = ["cli", "io", "clocks", "random", "filesystem", "sockets"];

/// What a component offers and wants.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fit {
    pub http: bool,
    pub websocket: bool,
    pub wasi: bool,
    /// Everything it imports and exports, by name, sorted.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Why a file is no plugin of this host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum Misfit {
    #[error("not WebAssembly: a .wasm file starts with \\0asm")]
    NotWasm,
    #[error("invalid WebAssembly: {0}")]
    Invalid(String),
    #[error(
        "a core module without a component type: build it with wit-bindgen against feedgate's wit/ \
         (or componentize it)"
    )]
    NoComponentType,
    #[error("a core module that cannot be made a component: {0}")]
    Componentize(String),
    #[error("does not fit the contract:{}\n  this host supports {}", Lines(.0), supported())]
    World(Vec<String>),
}

struct Lines<'a>(&'a [String]);

impl std::fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

fn supported() -> String {
    let (_, version) = contract().map_or_else(|_| (None, "?".to_owned()), |(r, _, v)| (Some(r), v));
    format!(
        "the worlds http-provider and websocket-provider of {PACKAGE}@{version}; \
         imports {PACKAGE}/log and an empty WASI 0.2"
    )
}

/// Makes a component of what `cargo build` leaves behind; leaves a component as it is.
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, Misfit> {
    component_of(bytes).map(std::borrow::Cow::into_owned)
}

/// As [`componentize`], without copying what is a component already.
pub(super) fn component_of(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, Misfit> {
    if bytes.get(..4) != Some(b"\0asm") {
        return Err(Misfit::NotWasm);
    }
    if Parser::is_component(bytes) {
        return Ok(bytes.into());
    }
    wasmparser::validate(bytes).map_err(|e| Misfit::Invalid(e.to_string()))?;
    let typed = Parser::new(0).parse_all(bytes).any(|payload| {
        matches!(payload, Ok(wasmparser::Payload::CustomSection(section)) if section.name().starts_with("component-type"))
    });
    if !typed {
        return Err(Misfit::NoComponentType);
    }
    let encode = || wit_component::ComponentEncoder::default().validate(true).module(bytes)?.encode();
    encode().map(Into::into).map_err(|e| Misfit::Componentize(format!("{e:#}")))
}

/// Compares a component with the contract.
pub(super) fn check(component: &[u8]) -> Result<Fit, Misfit> {
    wasmparser::Validator::new().validate_all(component).map_err(|e| Misfit::Invalid(e.to_string()))?;
    let decoded = wit_component::decode(component).map_err(|e| Misfit::Invalid(format!("{e:#}")))?;
    let DecodedWasm::Component(found, world) = decoded else {
        return Err(Misfit::World(vec!["it is a WIT package, not a component".to_owned()]));
    };
    let (expected, interfaces, version) =
        contract().map_err(|e| Misfit::Invalid(format!("the host's own contract: {e}")))?;

    let mut fit = Fit::default();
    let mut problems = Vec::new();
    for (key, item) in &found.worlds[world].imports {
        let name = found.name_world_key(key);
        match import(&name, &version, item) {
            Import::Ours => {}
            Import::Wasi => fit.wasi = true,
            Import::Unknown => problems.push(format!("imports {name}, which this host does not offer")),
        }
        fit.imports.push(name);
    }
    let mut exported = Vec::new();
    for (key, item) in &found.worlds[world].exports {
        let name = found.name_world_key(key);
        if let (WorldKey::Interface(_), WorldItem::Interface { id, .. }) = (key, item) {
            exported.push((name.clone(), *id));
        }
        fit.exports.push(name);
    }
    fit.imports.sort();
    fit.exports.sort();

    let mut offers = |interface: &str| -> bool {
        let Some((name, id)) = exported.iter().find(|(name, _)| interface_of(name) == Some(interface)) else {
            return false;
        };
        let theirs = name.rsplit_once('@').map_or("none", |(_, version)| version);
        if !compatible(theirs, &version) {
            problems.push(format!("exports {name}; this host speaks version {version}"));
            return true;
        }
        let wanted = interfaces.iter().find(|(name, _)| name == interface).map(|(_, id)| *id);
        if let Some(wanted) = wanted {
            compare(&expected, wanted, &found, *id, interface, &mut problems);
        }
        true
    };
    let describes = offers("describe");
    fit.http = offers("http");
    fit.websocket = offers("websocket");
    if !describes {
        problems.push(format!("does not export {PACKAGE}/describe@{version}"));
    }
    if !fit.http && !fit.websocket {
        problems.push(format!("exports neither {PACKAGE}/http@{version} nor {PACKAGE}/websocket@{version}"));
    }
    if problems.is_empty() { Ok(fit) } else { Err(Misfit::World(problems)) }
}

enum Import {
    Ours,
    Wasi,
    Unknown,
}

fn import(name: &str, version: &str, item: &WorldItem) -> Import {
    if !matches!(item, WorldItem::Interface { .. }) {
        return if matches!(item, WorldItem::Type { .. }) { Import::Ours } else { Import::Unknown };
    }
    let (path, theirs) = name.rsplit_once('@').unwrap_or((name, "none"));
    if let Some(interface) = path.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) {
        let known = ["types", "description", "streaming", "polling", "log"].contains(&interface);
        return if known && compatible(theirs, version) { Import::Ours } else { Import::Unknown };
    }
    let wasi = path.strip_prefix("wasi:").and_then(|rest| rest.split_once('/')).map(|(package, _)| package);
    match wasi {
        Some(package) if WASI.contains(&package) && theirs.starts_with("0.2.") => Import::Wasi,
        _ => Import::Unknown,
    }
}

fn interface_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').map_or(rest, |(interface, _)| interface))
}

/// Same track: `0.1.x` with `0.1.y`, `1.x` with `1.y`.
fn compatible(theirs: &str, ours: &str) -> bool {
    fn track(version: &str) -> Option<(u64, Option<u64>)> {
        let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some((major, (major == 0).then_some(minor)))
    }
    track(theirs).is_some() && track(theirs) == track(ours)
}

type Contract = (Resolve, Vec<(String, InterfaceId)>, String);

/// The contract parsed, its interfaces by name, its version.
fn contract() -> Result<Contract, String> {
    let mut sources = wit_parser::SourceMap::default();
    for (path, text) in CONTRACT {
        sources.push_str(path, text);
    }
    let group: UnresolvedPackageGroup = sources.parse().map_err(|(_, e)| e.to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|e| format!("{e:#}"))?;
    let version = resolve.packages[package].name.version.as_ref().map_or_else(String::new, ToString::to_string);
    let interfaces = resolve.packages[package].interfaces.iter().map(|(name, id)| (name.clone(), *id)).collect();
    Ok((resolve, interfaces, version))
}

fn compare(
    expected: &Resolve,
    wanted: InterfaceId,
    found: &Resolve,
    offered: InterfaceId,
    interface: &str,
    problems: &mut Vec<String>,
) {
    for (name, function) in &expected.interfaces[wanted].functions {
        let at = format!("{interface}.{name}");
        let Some(other) = found.interfaces[offered].functions.get(name) else {
            problems.push(format!("{at} is missing; expected {}", signature(expected, function)));
            continue;
        };
        if function.params.len() != other.params.len() || function.result.is_some() != other.result.is_some() {
            problems.push(format!(
                "{at}: expected {}, found {}",
                signature(expected, function),
                signature(found, other)
            ));
            continue;
        }
        let mut differ = |ours: &Type, theirs: &Type, part: &str| {
            if let Some(difference) = difference(expected, ours, found, theirs) {
                problems.push(format!("{at}, {part}: {difference}"));
            }
        };
        for (ours, theirs) in function.params.iter().zip(&other.params) {
            differ(&ours.ty, &theirs.ty, &ours.name);
        }
        if let (Some(ours), Some(theirs)) = (&function.result, &other.result) {
            differ(ours, theirs, "result");
        }
    }
}

/// The first place where two types differ, outermost name first. Walks only as deep as the contract's own type.
fn difference(expected: &Resolve, ours: &Type, found: &Resolve, theirs: &Type) -> Option<String> {
    let (ours, theirs) = (unalias(expected, ours), unalias(found, theirs));
    let (Type::Id(a), Type::Id(b)) = (ours, theirs) else {
        let same = !matches!((ours, theirs), (Type::Id(_), _) | (_, Type::Id(_))) && ours == theirs;
        return (!same).then(|| format!("expected {}, found {}", show(expected, &ours), show(found, &theirs)));
    };
    let (a, b) = (&expected.types[a], &found.types[b]);
    let within = |inner: Option<String>, part: String| inner.map(|text| format!("{part}: {text}"));
    let optional = |a: &Option<Type>, b: &Option<Type>| match (a, b) {
        (Some(a), Some(b)) => difference(expected, a, found, b),
        (None, None) => None,
        (a, _) => Some(if a.is_some() { "expected a payload, found none" } else { "expected no payload" }.to_owned()),
    };
    let name = a.name.clone().unwrap_or_default();
    let names_differ = |ours: Vec<&str>, theirs: Vec<&str>| {
        let missing: Vec<_> = ours.iter().filter(|name| !theirs.contains(name)).copied().collect();
        let extra: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).copied().collect();
        let order = missing.is_empty() && extra.is_empty() && ours != theirs;
        (ours != theirs).then(|| {
            let mut text = format!("{name}:");
            for (what, names) in [(" lacks ", missing), (" has unknown ", extra)] {
                if !names.is_empty() {
                    text += &format!("{what}{}", names.join(", "));
                }
            }
            if order { format!("{name}: its parts stand in another order") } else { text }
        })
    };
    match (&a.kind, &b.kind) {
        (TypeDefKind::Record(a), TypeDefKind::Record(b)) => {
            names_differ(a.fields.iter().map(|f| &*f.name).collect(), b.fields.iter().map(|f| &*f.name).collect())
                .or_else(|| {
                    a.fields.iter().zip(&b.fields).find_map(|(a, b)| {
                        within(difference(expected, &a.ty, found, &b.ty), format!("{name}.{}", a.name))
                    })
                })
        }
        (TypeDefKind::Variant(a), TypeDefKind::Variant(b)) => {
            names_differ(a.cases.iter().map(|c| &*c.name).collect(), b.cases.iter().map(|c| &*c.name).collect())
                .or_else(|| {
                    let mut cases = a.cases.iter().zip(&b.cases);
                    cases.find_map(|(a, b)| within(optional(&a.ty, &b.ty), format!("{name}.{}", a.name)))
                })
        }
        (TypeDefKind::Enum(a), TypeDefKind::Enum(b)) => {
            names_differ(a.cases.iter().map(|c| &*c.name).collect(), b.cases.iter().map(|c| &*c.name).collect())
        }
        (TypeDefKind::Option(a), TypeDefKind::Option(b)) | (TypeDefKind::List(a), TypeDefKind::List(b)) => {
            difference(expected, a, found, b)
        }
        (TypeDefKind::Result(a), TypeDefKind::Result(b)) => within(optional(&a.ok, &b.ok), "ok".to_owned())
            .or_else(|| within(optional(&a.err, &b.err), "err".to_owned())),
        (TypeDefKind::Tuple(a), TypeDefKind::Tuple(b)) if a.types.len() == b.types.len() => {
            a.types.iter().zip(&b.types).find_map(|(a, b)| difference(expected, a, found, b))
        }
        _ => Some(format!("expected {}, found {}", show(expected, &ours), show(found, &theirs))),
    }
}

fn unalias(resolve: &Resolve, ty: &Type) -> Type {
    match ty {
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::Type(inner) => unalias(resolve, inner),
            _ => *ty,
        },
        _ => *ty,
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params: Vec<_> = function.params.iter().map(|p| format!("{}: {}", p.name, show(resolve, &p.ty))).collect();
    let result = function.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", show(resolve, ty)));
    format!("func({}){result}", params.join(", "))
}

/// A type as WIT writes it: by its name where it has one.
fn show(resolve: &Resolve, ty: &Type) -> String {
    let optional = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| show(resolve, ty));
    match ty {
        Type::Id(id) => {
            let definition = &resolve.types[*id];
            if let Some(name) = &definition.name {
                return name.clone();
            }
            match &definition.kind {
                TypeDefKind::List(inner) => format!("list<{}>", show(resolve, inner)),
                TypeDefKind::Option(inner) => format!("option<{}>", show(resolve, inner)),
                TypeDefKind::Result(r) => format!("result<{}, {}>", optional(&r.ok), optional(&r.err)),
                TypeDefKind::Tuple(tuple) => {
                    let parts: Vec<_> = tuple.types.iter().map(|ty| show(resolve, ty)).collect();
                    format!("tuple<{}>", parts.join(", "))
                }
                other => other.as_str().to_owned(),
            }
        }
        Type::ErrorContext => "error-context".to_owned(),
        simple => format!("{simple:?}").to_lowercase(),
    }
}
