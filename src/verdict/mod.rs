//! An outcome as records: reasons, explanation, headers, decision record, dead letter. Pure.
