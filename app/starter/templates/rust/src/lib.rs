//! A function: an http-wasm handler (https://http-wasm.io/http-handler-abi/). Orla runs
//! it in a clean instance for each request. `answer` is where yours begins.

mod host;

/// Returns the status and the text for a request.
fn answer(method: &str, uri: &str) -> (u32, String) {
    let path = uri.split('?').next().unwrap_or(uri);
    match (method, path.strip_prefix("/hello/")) {
        ("GET", Some(name)) if !name.is_empty() => {
            host::log(&format!("greeting {name}")); // shown by orla dev and orla logs
            (200, format!("Hello, {name}!\n"))
        }
        ("GET", _) if path == "/" => (200, "try /hello/NAME\n".to_string()),
        _ => (404, "not found\n".to_string()),
    }
}

/// Called by the node for each request. Zero means that it has been answered.
#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    let (status, text) = answer(&host::method(), &host::uri());
    host::respond(status, "text/plain; charset=utf-8", text.as_bytes());
    0
}
