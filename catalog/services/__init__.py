"""Writes across catalog rows. Every function is atomic, keyword-only and audited."""

from catalog.services.aliases import alias_delete, alias_set
from catalog.services.checks import (
    TensorsVanished,
    tensors_known,
    version_check_finish,
    version_check_reject,
    version_check_resume,
    version_model_apply,
    version_probes_apply,
    version_reference_apply,
    version_trial_apply,
)
from catalog.services.costs import costs_write, version_work_apply
from catalog.services.models import model_create, model_delete, model_restore, model_update
from catalog.services.probes import (
    labelled_slice_apply,
    labelled_slice_give,
    labelled_slice_withdraw,
    probe_answers_apply,
    probe_features_apply,
    probe_runs_start,
    probe_sharing_set,
    probe_slice_apply,
    reference_withdraw,
)
from catalog.services.reclaim import catalog_sweep, model_purge, reclaimable_bytes
from catalog.services.reviews import review_decide, version_archive, version_submit
from catalog.services.versions import version_create, version_recheck

__all__ = [
    "TensorsVanished",
    "alias_delete",
    "alias_set",
    "catalog_sweep",
    "costs_write",
    "labelled_slice_apply",
    "labelled_slice_give",
    "labelled_slice_withdraw",
    "model_create",
    "model_delete",
    "model_purge",
    "model_restore",
    "model_update",
    "probe_answers_apply",
    "probe_features_apply",
    "probe_runs_start",
    "probe_sharing_set",
    "probe_slice_apply",
    "reclaimable_bytes",
    "reference_withdraw",
    "review_decide",
    "tensors_known",
    "version_archive",
    "version_check_finish",
    "version_check_reject",
    "version_check_resume",
    "version_create",
    "version_model_apply",
    "version_probes_apply",
    "version_recheck",
    "version_reference_apply",
    "version_submit",
    "version_trial_apply",
    "version_work_apply",
]
