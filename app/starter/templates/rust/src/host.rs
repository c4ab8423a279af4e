//! The calls of the node that this function needs.

#[link(wasm_import_module = "http_handler")]
extern "C" {
    fn get_method(buf: *mut u8, limit: u32) -> u32;
    fn get_uri(buf: *mut u8, limit: u32) -> u32;
    #[link_name = "log"]
    fn write_log(level: i32, message: *const u8, size: u32);
    fn set_status_code(code: u32);
    fn set_header_value(kind: u32, name: *const u8, name_size: u32, value: *const u8, value_size: u32);
    fn write_body(kind: u32, body: *const u8, size: u32);
}

const RESPONSE: u32 = 1;
const INFO: i32 = 0;

/// Reads a text of unknown length: a call that has too little room tells how much is needed.
fn text(read: unsafe extern "C" fn(*mut u8, u32) -> u32) -> String {
    let mut buf = vec![0; 1024];
    loop {
        let size = unsafe { read(buf.as_mut_ptr(), buf.len() as u32) } as usize;
        if size <= buf.len() {
            return String::from_utf8_lossy(&buf[..size]).into_owned();
        }
        buf.resize(size, 0);
    }
}

pub fn method() -> String {
    text(get_method)
}

pub fn uri() -> String {
    text(get_uri)
}

pub fn log(message: &str) {
    unsafe { write_log(INFO, message.as_ptr(), message.len() as u32) }
}

pub fn respond(status: u32, content_type: &str, body: &[u8]) {
    const NAME: &str = "content-type";
    unsafe {
        set_status_code(status);
        set_header_value(RESPONSE, NAME.as_ptr(), NAME.len() as u32, content_type.as_ptr(), content_type.len() as u32);
        write_body(RESPONSE, body.as_ptr(), body.len() as u32);
    }
}
