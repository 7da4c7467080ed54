//! Which workload is scaled to wake a subscriber: the one whose pod template the subscriber's Service selects.
//!
//! Labels of the template count, not those of the workload: at zero replicas there are no pods to look at.

use schemas::annotations::{self, WAKE_TARGET, WAKE_TARGET_REASON};

use super::Plan;
use crate::world::{Gvk, KindState, Lookup, Subject, Workload, World, references};

/// Most workloads named in a message.
const NAMES_MAX: usize = 5;

/// Adds the wake target of a Trigger, or why there is none. A subscriber that is no core Service wakes by itself, or
/// not at all; nothing is said of it.
pub(super) fn add(world: &World, subject: &Subject, plan: &mut Plan) {
    let Some(reference) = references(&subject.manifest).subscriber.filter(|found| found.gvk == Gvk::service()) else {
        return;
    };
    let Lookup::Found(target) = world.look_up(&reference.gvk, &reference.place) else { return };
    let Some(service) = &target.service else { return };
    let sound = service.notes.iter().filter(|(name, value)| annotations::fault(name, value).is_none());
    let own = |name: &str| subject.annotation(name).is_some();
    plan.annotations.extend(sound.filter(|(name, _)| !own(name)).map(|(name, value)| (*name, value.clone())));
    let asked = plan.annotations.remove(WAKE_TARGET);
    let asked = subject.annotation(WAKE_TARGET).map(str::to_owned).or(asked);
    if let Some(asked) = asked.filter(|asked| annotations::fault(WAKE_TARGET, asked).is_none()) {
        let (name, told) = match asked.as_str() {
            "none" => (WAKE_TARGET_REASON, format!("NotWakeable: annotation {WAKE_TARGET} says so")),
            _ => (WAKE_TARGET, asked),
        };
        plan.annotations.insert(name, told);
        return;
    }
    let name = &reference.place.name;
    let states = [Gvk::deployment(), Gvk::stateful_set()].map(|gvk| world.state(&gvk).clone());
    if states.contains(&KindState::Pending) {
        plan.pending = true;
        return;
    }
    let forbidden = states.iter().find_map(|state| match state {
        KindState::Forbidden(words) => Some(words),
        KindState::Pending | KindState::Listed | KindState::Absent => None,
    });
    let found: Vec<&Workload> = world.selected(&reference.place.namespace, &service.selector).collect();
    let answer = match found.as_slice() {
        _ if service.is_external_name => {
            Err(format!("NotWakeable: Service `{name}` is an ExternalName: what is behind it cannot be scaled"))
        }
        _ if service.selector.is_empty() => {
            Err(format!("NotWakeable: Service `{name}` has no selector, so the workload behind it is not known"))
        }
        _ if forbidden.is_some() => {
            let words = forbidden.map(String::as_str).unwrap_or_default();
            Err(format!("NotPermitted: the controller may not read Deployments and StatefulSets ({words})"))
        }
        [] => Err(format!(
            "NotWakeable: the selector of Service `{name}` matches the pod template of no Deployment or StatefulSet"
        )),
        [only] => match &only.owner {
            Some(owner) => Err(format!(
                "ManagedByOther: {} `{}` behind Service `{name}` is managed by {owner}",
                only.gvk.kind, only.name
            )),
            None => Ok(format!("{}/{}/{}", only.gvk.api_version(), only.gvk.kind, only.name)),
        },
        several => {
            let names: Vec<String> =
                several.iter().take(NAMES_MAX).map(|one| format!("{} `{}`", one.gvk.kind, one.name)).collect();
            Err(format!(
                "AmbiguousWakeTarget: Service `{name}` selects the pods of {} workloads ({}); name the one to wake by \
                 annotation {WAKE_TARGET} on the Service or the Trigger, such as apps/v1/Deployment/NAME",
                several.len(),
                names.join(", ")
            ))
        }
    };
    match answer {
        Ok(target) => plan.annotations.insert(WAKE_TARGET, target),
        Err(reason) => plan.annotations.insert(WAKE_TARGET_REASON, reason),
    };
}
