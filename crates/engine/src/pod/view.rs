//! All pods and their containers at one moment. Who looks again and again has only those read that have changed.

use std::collections::HashMap;
use std::sync::Arc;

use super::Pod;
use crate::model::{Container, Status};
use crate::{Engine, Result};

/// Pods and their containers as they were when it was made.
#[derive(Debug, Default)]
pub struct PodsView {
    /// All pods, oldest first.
    pub pods: Vec<Arc<Pod>>,
    /// Their containers, newest first, their live state filled in.
    pub containers: Vec<Arc<Container>>,
    /// Whether one of them is being started: then no record will tell when it runs.
    pub starting: bool,
    /// As they were, be they lost or not.
    known_pods: HashMap<String, Known<Arc<Pod>>>,
    /// `None` for a container that is in no pod.
    known_containers: HashMap<String, Known<Option<Arc<Container>>>>,
}

/// What is known of a record.
#[derive(Debug, Clone)]
struct Known<T> {
    version: i64,
    what: T,
}

impl Engine {
    /// Pods and containers as they are now. `last` is how they were before, and good enough for what no record tells of
    /// pods if it is `fresh`; `watched` tells of which running containers the caller would have heard that they have
    /// ended: those are not looked at.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn pods_view(
        &self,
        last: &PodsView,
        fresh: bool,
        watched: impl Fn(&str) -> bool,
    ) -> Result<PodsView> {
        let mut view = PodsView::default();
        for (id, version) in self.store.pod_versions()? {
            let known = last.known_pods.get(&id).filter(|k| k.version == version);
            let pod = match known {
                Some(known) if fresh => Arc::clone(&known.what),
                Some(known) => Arc::new(self.as_it_is(Pod::clone(&known.what))),
                None => match self.pod_record(&id)? {
                    Some(pod) => Arc::new(self.as_it_is(pod)),
                    None => continue,
                },
            };
            view.pods.push(Arc::clone(&pod));
            view.known_pods.insert(id, Known { version, what: pod });
        }
        for (id, version) in self.store.container_versions()? {
            let known = last.known_containers.get(&id);
            let known = known.filter(|k| k.version == version);
            self.see_container(&mut view, id, version, known, &watched)?;
        }
        Ok(view)
    }

    fn see_container(
        &self,
        view: &mut PodsView,
        id: String,
        version: i64,
        known: Option<&Known<Option<Arc<Container>>>>,
        watched: &impl Fn(&str) -> bool,
    ) -> Result<()> {
        let record = match known.map(|known| &known.what) {
            Some(Some(seen)) if seen.state.status.is_live() && !watched(&id) => {
                Some(Container::clone(seen))
            }
            Some(what) => {
                view.containers.extend(what.clone());
                let what = what.clone();
                view.known_containers.insert(id, Known { version, what });
                return Ok(());
            }
            None => self.record(&id)?,
        };
        let Some(record) = record else {
            return Ok(());
        };
        let recorded = record.state.status;
        let what = match record.pod.is_some() {
            false => None,
            true => match self.refresh(record)? {
                Some(container) => Some(Arc::new(container)),
                None => return Ok(()),
            },
        };
        view.containers.extend(what.clone());
        // What the record does not say, a start or an end, holds for this moment only.
        let lasting = |now: &Arc<Container>| now.state.status.is_live() == recorded.is_live();
        let told = what.as_ref().is_none_or(lasting);
        view.starting |= !told
            && what
                .as_ref()
                .is_some_and(|now| now.state.status == Status::Created);
        if told {
            view.known_containers.insert(id, Known { version, what });
        }
        Ok(())
    }
}
