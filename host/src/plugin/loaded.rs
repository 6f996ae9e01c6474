//! A plugin that was loaded, and one with its settings, which makes live instances.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::InstancePre;

use super::clock::Clock;
use super::compile::Compiled;
use super::instance::{self, PluginInstance};
use super::worlds::Fit;
use crate::access::secret::Secrets;
use crate::contract::codec::{Death, OpenCodec};
use crate::contract::description::{Description, Resources};
use crate::contract::digest::Digest;
use crate::contract::limits::PluginLimits;
use crate::contract::observation::ValueKind;

/// A checked, compiled and described file. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(super) inner: Arc<Inner>,
    pub(super) limits: Arc<PluginLimits>,
}

pub(super) struct Inner {
    pub(super) pre: InstancePre<instance::Inside>,
    pub(super) exports: instance::Exports,
    pub(super) clock: &'static Clock,
    /// Shared with whoever loads the same content meanwhile.
    pub(super) compiled: Arc<Compiled>,
    pub(super) description: Description,
    pub(super) digest: Digest,
    pub(super) size: usize,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {} {})", self.description().name, self.description().version, self.digest())
    }
}

impl Plugin {
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// Of the file as it was dropped, before it was made a component.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The file's size in bytes.
    pub fn size(&self) -> usize {
        self.inner.size
    }

    /// What it exports and imports.
    pub fn fit(&self) -> &Fit {
        &self.inner.compiled.fit
    }

    /// What each of its instances may use.
    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// The same, whose instances may use what was granted beyond the defaults.
    #[must_use]
    pub fn granted(&self, resources: &Resources) -> Self {
        Self { inner: self.inner.clone(), limits: Arc::new(self.limits.raised(resources)) }
    }

    /// For a provider of this name with these settings, as JSON.
    pub fn configured(&self, provider: Arc<str>, settings: String) -> Configured {
        Configured { plugin: self.clone(), provider, settings: settings.into(), secrets: Arc::default() }
    }
}

/// A plugin with its settings: opens codecs.
#[derive(Clone, Debug)]
pub struct Configured {
    plugin: Plugin,
    provider: Arc<str>,
    settings: Arc<str>,
    secrets: Arc<Secrets>,
}

impl Configured {
    /// The same, where what the plugin logs does not show these secrets: it has none, but the venue may say them to it.
    #[must_use]
    pub fn redacting(self, secrets: Arc<Secrets>) -> Self {
        Self { secrets, ..self }
    }
}

impl Configured {
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }
}

impl OpenCodec for Configured {
    type Codec = PluginInstance;

    async fn open(&self) -> Result<(PluginInstance, ValueKind), Death> {
        let inner = &self.plugin.inner;
        let mut instance = PluginInstance::new(
            &inner.pre,
            &inner.exports,
            inner.compiled.fit.wasi,
            inner.clock,
            &self.provider,
            &self.secrets,
            &self.plugin.limits,
        )
        .await?;
        let kind = instance.configure(&self.settings).await?;
        if !inner.description.values.contains(&kind) {
            let text = format!("configure gives {:?} values, which describe does not name", kind.as_str());
            return Err(Death::BadResult(text));
        }
        Ok((instance, kind))
    }
}
