//! An account at a cloud that speaks JSON and knows us by a token (`Authorization: Bearer`): its calls, its limits,
//! and the list of its machines that all services of the account share.

use std::path::{Path, PathBuf};

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};

use super::account::Account;
use super::call::{Call, Caller, Does, Reply};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::BadSettings;

/// One call; whatever takes longer is an order that is followed.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";

/// Which account: base address, token, file of certificates.
pub(crate) type Key = (String, String, Option<PathBuf>);

/// An account whose machines are listed as `T`.
pub(crate) struct Bearer<T> {
    caller: Caller,
    headers: HeaderMap,
    pub(crate) list: Account<T>,
}

impl<T: Send + Sync + 'static> Bearer<T> {
    /// The account of this token. Asks nothing.
    ///
    /// # Errors
    /// When the token can't be a header, or the file of certificates can't be read.
    pub(crate) fn new(
        kind: &'static str,
        base_url: &str,
        token: &str,
        ca: Option<&Path>,
    ) -> Result<Bearer<T>, BadSettings> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| BadSettings("`token` holds what no header can: a line break?".into()))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        Ok(Bearer {
            caller: Caller::new(kind, base_url, ca)?,
            headers,
            list: Account::new(),
        })
    }

    /// Reads a page.
    pub(crate) async fn get(&self, name: &'static str, path: String) -> Result<Reply, Trouble> {
        self.ask(name, Does::Read, Method::GET, path, None).await
    }

    /// Writes, with a body where there is one.
    pub(crate) async fn write(
        &self,
        name: &'static str,
        method: Method,
        path: String,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, Trouble> {
        self.ask(name, Does::Write, method, path, body).await
    }

    async fn ask(
        &self,
        name: &'static str,
        does: Does,
        method: Method,
        path: String,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, Trouble> {
        self.list.may_ask()?;
        let call = Call {
            name,
            does,
            method,
            path,
            body: body.map(|body| (JSON, body.to_string().into_bytes())),
            within: CALL_WITHIN,
        };
        let reply = self.caller.make(call, &self.headers).await?;
        if let Some(left) = reply.spent {
            let spent = Trouble::new(ErrorClass::RateLimited(Some(left)), "no call is left");
            self.list.heed(&spent);
        }
        Ok(reply)
    }
}
