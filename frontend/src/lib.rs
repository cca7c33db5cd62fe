//! The browser's half of the console: hydrates what the server rendered.

#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    app::hydrate();
}

/// Room for the splitter, which sorts constants into the files that use them. What it aligns anew needs a little more
/// space than before; without any to spare it leaves all constants in the main file. Nothing refers to this, so it is in
/// none of the files.
#[used]
static ROOM: [u8; 8192] = [1; 8192];
