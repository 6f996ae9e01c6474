//! Plugins made by hand: a module that behaves, exactly as the contract's binary form wants it, in which a test replaces
//! what one function does or answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, PackageId, Resolve, SizeAlign, Type, TypeDefKind, WasmExport, WasmExportKind,
    WorldId, WorldItem,
};

use crate::support::contract;

const MANGLING: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// Where the answers lie in the module's memory; what the host hands in comes behind them.
const IMAGE: u32 = 1024;
const HEAP: u32 = 1 << 16;

/// Every function that a plugin exports.
pub const EXPORTS: [&str; 9] = [
    "describe",
    "configure",
    "create-requests",
    "parse-response",
    "connect",
    "subscribe",
    "unsubscribe",
    "heartbeat",
    "handle-messages",
];

pub struct Forge {
    resolve: Resolve,
    world: WorldId,
    sizes: SizeAlign,
    image: Vec<u8>,
    /// What each export does, in place of answering.
    bodies: BTreeMap<&'static str, String>,
    /// Where each export's answer lies.
    answers: BTreeMap<&'static str, u32>,
    imports: String,
    fields: String,
    pub origins: Vec<&'static str>,
    pub url: &'static str,
    pub pages: u32,
}

impl Forge {
    /// Behaves: describes itself, asks for one `data:` URL, finds nothing in any answer.
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// The same, importing `imports` (lines of a world), which `packages` define.
    pub fn with(packages: &str, imports: &str) -> Self {
        let mut resolve = Resolve::default();
        for package in packages.split("---").filter(|package| !package.trim().is_empty()) {
            resolve.push_source("other.wit", package).expect("valid WIT");
        }
        let wit = format!("{}\nworld forged {{ {imports} include provider; }}", contract());
        let package: PackageId = resolve.push_source("test.wit", &wit).expect("valid WIT");
        let world = resolve.select_world(&[package], Some("forged")).expect("the world is there");
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        Self {
            resolve,
            world,
            sizes,
            image: Vec::new(),
            bodies: BTreeMap::new(),
            answers: BTreeMap::new(),
            imports: String::new(),
            fields: String::new(),
            origins: vec!["wss://forged.example.com"],
            url: "data:,1",
            pages: 16,
        }
    }

    /// What an export does instead, in WebAssembly's text form. It must leave an `i32`.
    pub fn doing(mut self, export: &'static str, body: &str) -> Self {
        self.bodies.insert(export, body.to_owned());
        self
    }

    /// What an export answers instead, as it lies in memory.
    pub fn answering(mut self, export: &'static str, answer: &[u8]) -> Self {
        let at = self.place(answer);
        self.answers.insert(export, at);
        self
    }

    /// Anything else that stands in a module.
    pub fn field(mut self, field: &str) -> Self {
        self.fields += field;
        self
    }

    pub fn import(mut self, import: &str) -> Self {
        self.imports += import;
        self
    }

    /// Puts bytes into memory and says where.
    pub fn place(&mut self, bytes: &[u8]) -> u32 {
        self.image.resize(self.image.len().next_multiple_of(8), 0);
        let at = IMAGE + u32::try_from(self.image.len()).expect("small");
        self.image.extend_from_slice(bytes);
        at
    }

    /// `ptr` and `len` of a list of pieces that lie one after another.
    pub fn list(&mut self, pieces: &[Vec<u8>]) -> [u32; 2] {
        let count = u32::try_from(pieces.len()).expect("few");
        [self.place(&pieces.concat()), count]
    }

    pub fn text(&mut self, text: &str) -> [u32; 2] {
        [self.place(text.as_bytes()), u32::try_from(text.len()).expect("short")]
    }

    /// The size of what an export answers.
    pub fn size(&self, export: &str) -> usize {
        self.sizes.size(&self.result(export)).size_wasm32()
    }

    fn result(&self, export: &str) -> Type {
        let interfaces = self.resolve.interfaces.iter();
        let mut functions = interfaces.filter_map(|(_, interface)| interface.functions.get(export));
        functions.next().and_then(|function| function.result).expect("each answers something")
    }

    /// Where a record's field lies in it.
    pub fn offset(&self, record: &str, field: &str) -> usize {
        let mut found = self.resolve.types.iter().filter_map(|(_, definition)| match &definition.kind {
            TypeDefKind::Record(found) if definition.name.as_deref() == Some(record) => Some(found),
            _ => None,
        });
        let found = found.next().unwrap_or_else(|| panic!("no record {record}"));
        let at = found.fields.iter().position(|found| found.name == field).expect("it has the field");
        let offsets = self.sizes.field_offsets(found.fields.iter().map(|field| &field.ty));
        offsets[at].0.size_wasm32()
    }

    /// A good description. All zeros would be one, but for what is written here.
    pub fn description(&mut self) -> Vec<u8> {
        let mut answer = vec![0; self.size("describe")];
        let origins: Vec<_> = self.origins.clone().iter().map(|origin| words(&self.text(origin))).collect();
        let ids = vec![words(&self.text("a"))];
        for (field, value) in [
            ("name", self.text("forged")),
            ("settings-schema", self.text("{}")),
            ("origins", self.list(&origins)),
            ("default-ids", self.list(&ids)),
            ("values", self.list(&[vec![0]])),
        ] {
            write(&mut answer, self.offset("description", field), &words(&value));
        }
        let websocket = self.offset("description", "websocket");
        let http = self.offset("description", "http");
        // A presence, and the limits at the next word.
        write(&mut answer, websocket, &[1]);
        write(&mut answer, http, &[1]);
        for (field, value) in [("poll-interval-ms", 100), ("timeout-ms", 1_000), ("max-in-flight", 1)] {
            write(&mut answer, http + 4 + self.offset("http-limits", field), &words(&[value]));
        }
        answer
    }

    fn requests(&mut self) -> Vec<u8> {
        let (request, keys) = (self.offset("planned-request", "request"), self.offset("planned-request", "keys"));
        let mut planned = vec![0; keys + 8];
        let key = self.list(&[words(&[0])]);
        let url = self.text(self.url);
        write(&mut planned, request + self.offset("request", "url"), &words(&url));
        write(&mut planned, keys, &words(&key));
        let mut answer = vec![0; self.size("create-requests")];
        let list = self.list(&[planned]);
        write(&mut answer, 4, &words(&list));
        answer
    }

    fn step(&mut self) -> Vec<u8> {
        let url = self.text("wss://forged.example.com/");
        let mut answer = vec![0; self.size("connect")];
        // `ok`, then `dial`, then its endpoint.
        write(&mut answer, 4, &[1]);
        write(&mut answer, 8 + self.offset("endpoint", "url"), &words(&url));
        answer
    }

    /// The core module.
    fn module(mut self) -> Vec<u8> {
        for export in EXPORTS {
            if !self.answers.contains_key(export) {
                let answer = match export {
                    "describe" => self.description(),
                    "create-requests" => self.requests(),
                    "connect" => self.step(),
                    // `ok` of the first case, an empty list.
                    _ => vec![0; self.size(export)],
                };
                self = self.answering(export, &answer);
            }
        }
        let mut text = format!("(module {}\n(memory (export \"memory\") {})\n", self.imports, self.pages);
        let heap = "(global $heap (mut i32) (i32.const HEAP))
            (func $realloc (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (local i32)
              (local.tee 4 (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (global.set $heap (i32.add (local.get 4) (local.get 3))))";
        if !self.fields.contains("cabi_realloc") {
            text += &heap.replace("HEAP", &HEAP.to_string());
        }
        text += &self.fields;
        let image: String = self.image.iter().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(text, "(data (i32.const {IMAGE}) \"{image}\")").expect("into memory");
        for (key, item) in &self.resolve.worlds[self.world].exports {
            let WorldItem::Interface { id, .. } = item else { continue };
            for (name, function) in &self.resolve.interfaces[*id].functions {
                let kind = WasmExportKind::Normal;
                let export = WasmExport::Func { interface: Some(key), func: function, kind };
                let mangled = self.resolve.wasm_export_name(MANGLING, export);
                let signature = self.resolve.wasm_signature(AbiVariant::GuestExport, function);
                let params: Vec<_> = signature.params.iter().map(core).collect();
                let answer = self.answers.get(name.as_str()).map(|at| format!("(i32.const {at})"));
                let body = self.bodies.get(name.as_str()).cloned().or(answer).expect("every export is known");
                let params = params.join(" ");
                writeln!(text, "(func (export \"{mangled}\") (param {params}) (result i32) {body})")
                    .expect("into memory");
            }
        }
        wat::parse_str(text + ")").unwrap_or_else(|error| panic!("{error}"))
    }

    /// The core module with its types: what a compiler leaves behind.
    pub fn typed_module(self) -> Vec<u8> {
        let (resolve, world) = (self.resolve.clone(), self.world);
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
        module
    }

    pub fn component(self) -> Vec<u8> {
        let module = self.typed_module();
        let encoder = ComponentEncoder::default().module(&module).expect("a module");
        encoder.validate(true).encode().unwrap_or_else(|error| panic!("{error:?}"))
    }
}

fn core(ty: &WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

/// Words of 32 bits as they lie in memory.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn write(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}
