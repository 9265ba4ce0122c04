//! The simulated catalogue behind the port `Catalogue`, in real time and without faults.

use async_trait::async_trait;
use containerpilot::ports::{Catalogue, CatalogueError, Renewal};
use domain::catalogue::{Endpoint, Found, Listing, LookUp, Query, Report};
use domain::plan::Registration;
use domain::time::Duration;
use sim::fake_catalogue::FakeCatalogue;
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The simulated catalogue with the port's asynchronous methods.
#[derive(Clone)]
pub struct Simulated {
    book: Rc<RefCell<FakeCatalogue>>,
    began: Instant,
    written: Rc<Notify>,
}

impl Simulated {
    /// An empty catalogue; `forgets_the_expired` decides whether an expired entry is removed.
    pub fn new(forgets_the_expired: bool) -> Self {
        Self {
            book: Rc::new(RefCell::new(FakeCatalogue::new(forgets_the_expired))),
            began: Instant::now(),
            written: Rc::default(),
        }
    }

    /// Sets the value of a key, or removes it.
    pub fn set_key(&self, key: &str, value: Option<&str>) {
        self.book().set_key(key, value);
        self.written.notify_waiters();
    }

    fn now(&self) -> domain::Instant {
        domain::Instant::after_start(self.began.elapsed())
    }

    /// The entries, without those that have expired.
    fn book(&self) -> RefMut<'_, FakeCatalogue> {
        let mut book = self.book.borrow_mut();
        book.expire(self.now());
        book
    }

    /// What `answer` makes of the entries when they have news, and otherwise after the wait.
    async fn wait_for<T>(
        &self,
        wait: Duration,
        has_news: impl Fn(&FakeCatalogue) -> bool,
        answer: impl Fn(&FakeCatalogue) -> T,
    ) -> T {
        let over = Instant::now() + wait;
        loop {
            let written = self.written.notified();
            let expiry = {
                let book = self.book();
                if has_news(&book) || Instant::now() >= over {
                    return answer(&book);
                }
                book.next_expiry().map(|expiry| self.began + expiry.since_start())
            };
            timeout_at(expiry.unwrap_or(over).min(over), written).await.ok();
        }
    }
}

#[async_trait(?Send)]
impl Catalogue for Simulated {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.book().register(self.now(), registration);
        self.written.notify_waiters();
        Ok(())
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        let renewal = self.book().renew(self.now(), registration);
        self.written.notify_waiters();
        Ok(renewal)
    }

    async fn report(&self, report: &Report) -> Result<Renewal, CatalogueError> {
        let renewal = self.book().report(self.now(), report);
        self.written.notify_waiters();
        Ok(renewal)
    }

    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError> {
        Ok(self.book().holder(&registration.id))
    }

    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.book().deregister(&registration.id);
        self.written.notify_waiters();
        Ok(())
    }

    async fn look_up(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        if let Some(query) = look_up.query() {
            return Ok(self.instances(&query).await?.found());
        }
        let has_news = |book: &FakeCatalogue| book.has_other_data(look_up);
        Ok(self
            .wait_for(look_up.wait, has_news, |book| book.look_up(look_up))
            .await)
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let has_news = |book: &FakeCatalogue| book.has_news(query);
        Ok(self.wait_for(query.wait, has_news, |book| book.list(query)).await)
    }
}
