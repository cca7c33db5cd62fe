//! What the browser loads only when it is needed: code in files of its own, and answers that only such code can read.
//!
//! A function with `#[wasm_split(file, …, fallible)]` goes into the file of that name, with everything that nothing else
//! uses. Calling it loads the file first. On the server it is an ordinary function, always there.

use std::marker::PhantomData;

use leptos::{prelude::*, wasm_split::SplitLoaderError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{components::ErrorState, error::AppError};

impl From<SplitLoaderError> for AppError {
    /// Not there because of the network, or because the server has a newer version: loading the page anew helps with both.
    fn from(_: SplitLoaderError) -> Self {
        Self::Offline
    }
}

/// How resources travel in the page: JSON, read by the same code as the answers of server functions. The codec that
/// Leptos takes otherwise reads from text instead of bytes, for which every type would be compiled a second time.
pub struct JsonBytes;

impl<T: Serialize> codee::Encoder<T> for JsonBytes {
    type Error = serde_json::Error;
    type Encoded = String;

    fn encode(value: &T) -> Result<String, Self::Error> {
        serde_json::to_string(value)
    }
}

impl<T: DeserializeOwned> codee::Decoder<T> for JsonBytes {
    type Error = serde_json::Error;
    type Encoded = str;

    fn decode(json: &str) -> Result<T, Self::Error> {
        serde_json::from_slice(json.as_bytes())
    }
}

/// What a page loads: an answer of a server function.
pub type Loaded<T> = Resource<Result<T, AppError>, JsonBytes>;

/// Loads again whenever `source` changes.
pub fn load<S, T, F>(
    source: impl Fn() -> S + Send + Sync + 'static,
    fetch: impl Fn(S) -> F + Send + Sync + 'static,
) -> Loaded<T>
where
    S: PartialEq + Clone + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<T, AppError>> + Send + 'static,
{
    Resource::new_with_options(source, fetch, false)
}

/// The same for what decides about the answer's status or address: nothing is sent before it is there.
pub fn load_first<S, T, F>(
    source: impl Fn() -> S + Send + Sync + 'static,
    fetch: impl Fn(S) -> F + Send + Sync + 'static,
) -> Loaded<T>
where
    S: PartialEq + Clone + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<T, AppError>> + Send + 'static,
{
    Resource::new_with_options(source, fetch, true)
}

/// JSON of a `T` that was not read yet. What passes it on needs no code to read a `T`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Later<T> {
    json: Box<RawValue>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Later<T> {
    fn clone(&self) -> Self {
        Self { json: self.json.clone(), of: PhantomData }
    }
}

impl<T: DeserializeOwned> Later<T> {
    /// # Errors
    /// When it was written by another version of this program.
    pub fn read(&self) -> Result<T, AppError> {
        serde_json::from_slice(self.json.get().as_bytes()).map_err(|_| AppError::Offline)
    }
}

#[cfg(feature = "ssr")]
impl<T: Serialize> Later<T> {
    /// # Errors
    /// When `value` has no JSON, which is a mistake in its type.
    pub fn new(value: &T) -> Result<Self, AppError> {
        let json = serde_json::value::to_raw_value(value).map_err(crate::session::internal)?;
        Ok(Self { json, of: PhantomData })
    }
}

/// The view of a page or panel that was loaded, or in its place why it could not be.
pub fn shown(view: Result<AnyView, AppError>) -> AnyView {
    view.unwrap_or_else(|error| view! { <ErrorState error/> }.into_any())
}

/// Starts to load a file while its page or data are still on their way.
pub fn fetch_ahead(file: impl Future<Output = Result<(), SplitLoaderError>> + 'static) {
    #[cfg(feature = "hydrate")]
    leptos::task::spawn_local(async move {
        // Whoever needs it asks again, and says what is wrong.
        _ = file.await;
    });
    #[cfg(not(feature = "hydrate"))]
    drop(file);
}

/// The files that the head of this document names already: a view may be made more than once for one document.
#[cfg(feature = "ssr")]
#[derive(Clone, Default)]
pub struct Announced(ArcStoredValue<std::collections::BTreeSet<&'static str>>);

/// Names a file in the head of the document, so that it is loaded beside the main one and not after it.
#[cfg(feature = "ssr")]
pub fn announce(file: &'static str) {
    use leptos_meta::Link;
    let new = use_context::<Announced>().and_then(|announced| announced.0.try_update_value(|files| files.insert(file)));
    if new != Some(true) {
        return;
    }
    // Which files a function needs is known from the build; `HydrationScripts` has read it for this document.
    let Some(manifest) = use_context::<leptos::WasmSplitManifest>() else { return };
    let Some(manifest) = manifest.0.try_read_value() else { return };
    let (folder, files, _) = &*manifest;
    for file in files.get(file).into_iter().flatten() {
        // Rendering a `Link` puts it into the head.
        _ = view! {
            <Link rel="preload" href=format!("{folder}/{file}.wasm") as_="fetch" type_="application/wasm" crossorigin="anonymous"/>
        }
        .to_html();
    }
}

/// A page whose code is in `file`: its route for the router.
macro_rules! late_page {
    ($route:ident, $file:literal, $view:path, $preload:path) => {
        pub struct $route;

        impl leptos_router::LazyRoute for $route {
            fn data() -> Self {
                Self
            }

            async fn view(_: Self) -> leptos::prelude::AnyView {
                #[cfg(feature = "ssr")]
                crate::later::announce($file);
                crate::later::shown($view().await)
            }

            async fn preload() {
                // If it failed, `view` tries again and says so.
                _ = $preload().await;
            }
        }
    };
}
pub(crate) use late_page;
