// A handler that leaks on purpose: see guests.Leaks.
use std::cell::RefCell;

#[link(wasm_import_module = "http_handler")]
extern "C" {
    fn get_header_values(kind: u32, name: *const u8, name_size: u32, buf: *mut u8, limit: u32) -> u64;
    fn write_body(kind: u32, body: *const u8, size: u32);
}

const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const LIMIT: usize = 4096;

// Each secret is kept twice: in the module's data and on the heap.
struct Kept {
    requests: u32,
    fixed: [u8; LIMIT],
    secrets: Vec<String>,
}

thread_local! {
    static KEPT: RefCell<Kept> = const_kept();
}

const fn const_kept() -> RefCell<Kept> {
    RefCell::new(Kept { requests: 0, fixed: [0; LIMIT], secrets: Vec::new() })
}

fn secret() -> String {
    let mut buf = vec![0; LIMIT];
    let r = unsafe { get_header_values(REQUEST, "x-secret".as_ptr(), 8, buf.as_mut_ptr(), LIMIT as u32) };
    let size = r as u32 as usize;
    if r >> 32 == 0 || size > LIMIT {
        return String::new();
    }
    String::from_utf8_lossy(&buf[..size - 1]).into_owned() // without its NUL
}

impl Kept {
    fn answer(&mut self) -> String {
        let secret = secret();
        let data = self.fixed.iter().filter(|b| **b != 0).count();
        let heap: usize = self.secrets.iter().map(String::len).sum();
        if data + secret.len() <= LIMIT {
            self.fixed[data..data + secret.len()].copy_from_slice(secret.as_bytes());
        }
        if heap + secret.len() <= LIMIT {
            self.secrets.push(secret);
        }
        self.requests += 1;
        format!("n={} seen={}", self.requests, data.max(heap))
    }
}

#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    let text = KEPT.with(|k| k.borrow_mut().answer());
    unsafe { write_body(RESPONSE, text.as_ptr(), text.len() as u32) };
    0
}
