//! What became of changes that stood against each other, in the shapes of the guide.

use super::contender::{Contender, values};
use crate::{
    conflict::Conflict,
    value::{Number, Value},
};
use lockstep_plugin_api::Text;
use serde::Serialize;

/// Which value is shown, and why. Changes are named by their places in the order of their stamps.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// JSON text; `None` if the key is removed.
    pub value: Option<Text>,
    pub method: Method,
    /// The one whose value is shown as it is, if there is one.
    pub winner: Option<usize>,
    /// The ones that are in what is shown.
    pub applied: Vec<usize>,
    /// The ones that are not.
    pub discarded: Vec<usize>,
    /// Where not all of them had their way.
    pub conflicts: Vec<Conflict>,
}

/// How a value came about, with what the guide tells of each way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "resolution_method", rename_all = "snake_case")]
pub enum Method {
    LastWriteWins,
    FirstWriteWins,
    OperationalTransform { operations_applied: usize, base_value: Option<Value> },
    DictionaryMerge { merged_sources: usize },
    ListMerge { original_length: usize, deduplicated_length: usize },
    NumericAverage(Range),
    NumericDelta(Range),
    NumericMax(Range),
    NumericMin(Range),
    TextMerge { operations_applied: usize },
    ManualResolutionPending,
}

/// The numbers that became one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Range {
    pub original_values: Vec<Number>,
    pub min_value: Number,
    pub max_value: Number,
}

impl Method {
    /// Its name, as authors, subscribers and the audit are told it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LastWriteWins => "last_write_wins",
            Self::FirstWriteWins => "first_write_wins",
            Self::OperationalTransform { .. } => "operational_transform",
            Self::DictionaryMerge { .. } => "dictionary_merge",
            Self::ListMerge { .. } => "list_merge",
            Self::NumericAverage(_) => "numeric_average",
            Self::NumericDelta(_) => "numeric_delta",
            Self::NumericMax(_) => "numeric_max",
            Self::NumericMin(_) => "numeric_min",
            Self::TextMerge { .. } => "text_merge",
            Self::ManualResolutionPending => "manual_resolution_pending",
        }
    }
}

impl Resolution {
    /// Whether somebody has to decide.
    pub fn is_pending(&self) -> bool {
        self.method == Method::ManualResolutionPending
    }

    /// Somebody has to decide. Until then the last write is shown, and nothing is discarded.
    pub fn left_to_a_person(contenders: &[Contender<'_>], conflicts: Vec<Conflict>) -> Self {
        Self {
            value: contenders.last().and_then(|last| last.value.cloned()),
            method: Method::ManualResolutionPending,
            winner: None,
            applied: Vec::new(),
            discarded: Vec::new(),
            conflicts,
        }
    }

    /// One change wins; the others are discarded by their place, and not by what they say: an equal change of somebody
    /// else was discarded all the same.
    pub fn won_by(winner: usize, method: Method, contenders: &[Contender<'_>]) -> Self {
        // What cannot be read cannot be compared either; the changes are named all the same.
        let values = values(contenders).unwrap_or_default();
        let wanted: Vec<_> = values.iter().map(Option::as_ref).collect();
        let base = super::contender::common_base(contenders);
        Self {
            value: contenders[winner].value.cloned(),
            method,
            winner: Some(winner),
            applied: vec![winner],
            discarded: (0..contenders.len()).filter(|at| *at != winner).collect(),
            conflicts: Conflict::of_whole(base.as_ref(), &wanted).into_iter().collect(),
        }
    }
}
