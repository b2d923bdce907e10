//! One text -> a sealed value and back, under the ring in force.
//!
//! Invariant: what was opened is exactly what was sealed, for this owner and this field.

use crate::{
    binding::{Field, Layer, Owner},
    cipher::Sealed,
    data_keys::DataKeys,
    keeper::Keeper,
    ring::Ring,
    unwrapped::{Locked, Unwrapped},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use lockstep_plugin_api::{
    prelude::*,
    sealed::{A256GCM, Envelope, VERSION},
};
use std::{sync::Arc, time::Duration};

/// Seals and opens for one component.
pub struct Envelopes {
    keeper: Arc<Keeper>,
    generation: u64,
    ring: Arc<Ring>,
    data_keys: DataKeys,
    unwrapped: Unwrapped,
}

/// A sealed value that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    pub layer: Layer,
    pub text: String,
}

/// Why a sealed value stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// It has another form than this version's.
    Damaged,
    /// The key it was sealed under is not in the ring.
    UnknownKey(String),
    /// Its data key, or itself, is not what was sealed for this tenant, key and field.
    DoesNotOpen,
}

impl Envelopes {
    pub fn new(keeper: Arc<Keeper>, lifetime: Duration) -> Self {
        let (generation, ring) = (keeper.generation(), keeper.ring());
        Self { keeper, generation, ring, data_keys: DataKeys::new(lifetime), unwrapped: Unwrapped::default() }
    }

    /// Takes the newest ring, if there is another one or new data keys are wanted.
    pub fn keep_up(&mut self) {
        let generation = self.keeper.generation();
        if generation != self.generation {
            (self.generation, self.ring) = (generation, self.keeper.ring());
            self.data_keys.forget();
            self.unwrapped.forget();
        }
    }

    /// How many data keys are in use for new values.
    pub fn n_data_keys(&self) -> usize {
        self.data_keys.len()
    }

    /// Seals a text; the answer is JSON text.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn seal(&mut self, owner: &Owner, layer: Layer, field: Field, text: &str) -> Result<String> {
        let data_key = self.data_keys.of(owner.tenant(), &self.ring)?;
        let aad = owner.of_value(&data_key.kid, layer, field);
        let Sealed { nonce, text } = data_key.key.seal(&aad, text.as_bytes())?;
        let envelope = Envelope {
            v: VERSION,
            alg: A256GCM.into(),
            kid: (&*data_key.kid).into(),
            dk: data_key.dk.as_str().into(),
            n: BASE64.encode(nonce).into(),
            ct: BASE64.encode(text).into(),
        };
        Ok(envelope.write())
    }

    /// Opens what was sealed for one of these layers.
    pub fn open(
        &mut self,
        owner: &Owner,
        layers: &[Layer],
        field: Field,
        text: &str,
    ) -> Result<Opened, Closed> {
        let envelope =
            Envelope::read(text).filter(|envelope| envelope.alg == A256GCM).ok_or(Closed::Damaged)?;
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| Closed::Damaged);
        let (nonce, sealed) = (bytes(&envelope.n)?, bytes(&envelope.ct)?);
        let key = self.unwrapped.key(&self.ring, &envelope.kid, owner.tenant(), &envelope.dk);
        let key = key.map_err(|locked| match locked {
            Locked::UnknownKey => Closed::UnknownKey(envelope.kid.clone().into_owned()),
            Locked::DoesNotOpen => Closed::DoesNotOpen,
        })?;
        for layer in layers {
            let mut sealed = sealed.clone();
            let aad = owner.of_value(&envelope.kid, *layer, field);
            if let Some(opened) = key.open(&aad, &nonce, &mut sealed) {
                let text = std::str::from_utf8(opened).map_err(|_| Closed::Damaged)?.to_owned();
                return Ok(Opened { layer: *layer, text });
            }
        }
        Err(Closed::DoesNotOpen)
    }
}
