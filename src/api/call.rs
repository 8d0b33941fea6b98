//! A call: who it is from, checked before anything of it is read.

use std::marker::PhantomData;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::LocalBoxFuture;

use super::auth::Permission;
use super::client_address::client_address;
use super::extract::check_target;
use super::observe::RequestId;
use super::problem::ApiError;
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::account::Account;
use crate::error::{Code, Error, Refusal, Result};
use crate::licensing::accounts;
use crate::licensing::context::{Actor, Context};
use crate::limits::{Client, Outcome};

/// An allowed call. A handler that takes one cannot forget the check: `P` is who may call it, `B` what
/// else is taken from the request, which is read only when the caller may.
#[derive(Debug)]
pub(crate) struct Call<P, B = ()> {
    pub app: Arc<App>,
    pub cx: Context,
    pub input: B,
    permission: PhantomData<P>,
}

impl<P> Call<P> {
    /// The same allowed call once its input has been taken out.
    pub(crate) fn without_input<B>(call: Call<P, B>) -> (Self, B) {
        let Call {
            app,
            cx,
            input,
            permission,
        } = call;
        let call = Self {
            app,
            cx,
            input: (),
            permission,
        };
        (call, input)
    }
}

impl<P: Permission, B: FromRequest + 'static> FromRequest for Call<P, B> {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let app = request
                .app_data::<web::Data<App>>()
                .ok_or_else(|| ApiError::from(Error::internal("the application is not set up")))?;
            let app = Arc::clone(app);
            check_target(&request).map_err(ApiError::from)?;
            let now = app.now();
            let address = client_address(&app, &request);
            let actor = authorize::<P>(&app, &request, Client::at(address), now)
                .await
                .map_err(ApiError::from)?;
            let cx = Context {
                actor,
                address,
                request_id: request
                    .extensions()
                    .get::<RequestId>()
                    .map(|id| id.0.clone()),
                now,
            };
            let input = B::from_request(&request, &mut payload)
                .await
                .map_err(Into::into)?;
            Ok(Self {
                app,
                cx,
                input,
                permission: PhantomData,
            })
        })
    }
}

async fn authorize<P: Permission>(
    app: &App,
    request: &HttpRequest,
    client: Client,
    now: Timestamp,
) -> Result<Actor> {
    if P::LIMITED {
        let allowed = app.limits.allow_call(client);
        allowed.map_err(|limited| app.refuse_limited(limited, now))?;
    }
    if P::is_public(&app.config) {
        return Ok(Actor::Public);
    }
    let account = authenticate(app, bearer(request)?, client, now).await?;
    if P::allows(account.role) {
        Ok(Actor::Account {
            id: account.id,
            role: account.role,
        })
    } else {
        let detail = format!(
            "An API token of the role {} does not allow this.",
            account.role
        );
        Err(Refusal::because(Code::Forbidden, detail).into())
    }
}

/// The account that an API token speaks for, within the budget of wrong ones.
async fn authenticate(app: &App, secret: &str, client: Client, now: Timestamp) -> Result<Account> {
    let allowed = app.limits.allow_token(client, secret);
    allowed.map_err(|limited| app.refuse_limited(limited, now))?;
    let presented = secret.to_owned();
    let account = app
        .db
        .read_one(move |conn| accounts::authenticate(conn, &presented, now))
        .await;
    let outcome = match &account {
        Ok(_) => Outcome::Good,
        Err(Error::Refused(_)) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    };
    app.limits.note_token(client, secret, outcome);
    account
}

/// The token of `Authorization: Bearer …` (RFC 6750); the scheme in any case.
fn bearer(request: &HttpRequest) -> Result<&str> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)
        .ok_or(Code::Unauthenticated)?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Code::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Code::Unauthenticated.into())
    }
}
