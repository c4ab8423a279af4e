// A handler that answers "hello": see guests.Hellos.

#[link(wasm_import_module = "http_handler")]
extern "C" {
    fn set_header_value(kind: u32, name: *const u8, name_size: u32, value: *const u8, value_size: u32);
    fn write_body(kind: u32, body: *const u8, size: u32);
}

const RESPONSE: u32 = 1;

#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    let (name, value, body) = (String::from("content-type"), String::from("text/plain"), String::from("hello"));
    unsafe {
        set_header_value(RESPONSE, name.as_ptr(), name.len() as u32, value.as_ptr(), value.len() as u32);
        write_body(RESPONSE, body.as_ptr(), body.len() as u32);
    }
    0
}
