"use strict"
// Uploads in pieces: https://tus.io/protocols/resumable-upload, core and creation.
const PIECE = 512 * 1024
const LONGEST_PAUSE_MS = 15000

for (const form of document.querySelectorAll("form[data-upload]")) {
  const input = form.querySelector("input[type=file]")
  const drop = form.querySelector("[data-drop]")
  const shown = form.querySelector("[data-progress]")
  const bar = shown.querySelector("progress")
  const state = form.querySelector("[data-state]")
  const alert = form.querySelector("[data-alert]")
  const button = form.querySelector("button[type=submit]")
  let busy = false

  form.querySelector("[data-drop-hint]").hidden = false
  drop.addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over") })
  drop.addEventListener("dragleave", () => drop.classList.remove("over"))
  drop.addEventListener("drop", event => {
    event.preventDefault()
    drop.classList.remove("over")
    if (event.dataTransfer.files.length) {
      const one = new DataTransfer()
      one.items.add(event.dataTransfer.files[0])
      input.files = one.files
      input.dispatchEvent(new Event("change"))
    }
  })
  input.addEventListener("change", () => {
    alert.hidden = true
    const file = input.files[0]
    const day = file && new Date(file.lastModified - new Date(file.lastModified).getTimezoneOffset() * 60000)
    form.elements.file_time.value = day ? day.toISOString().slice(0, 16) : ""
  })
  form.addEventListener("submit", event => {
    event.preventDefault()
    if (!busy) send()
  })
  // Back from the next page: the browser may show this one as it was left.
  addEventListener("pageshow", event => { if (event.persisted) rest() })

  function rest() {
    busy = button.disabled = shown.hidden = false
    shown.hidden = true
    input.disabled = false
    form.elements.upload.disabled = true
  }

  function complain(text) {
    rest()
    alert.textContent = text
    alert.hidden = false
  }

  function tell(text, sent, size) {
    shown.hidden = false
    bar.value = 100 * sent / size
    const told = text.replace("{percent}", Math.floor(100 * sent / size))
    if (state.textContent !== told) state.textContent = told
  }

  async function send() {
    const file = input.files[0]
    if (!file) return complain(form.dataset.none)
    if (!file.size) return complain(form.dataset.empty)
    if (file.size > Number(form.dataset.largest)) return complain(form.dataset.tooLarge)
    busy = button.disabled = true
    alert.hidden = true
    const memory = `upload ${file.name} ${file.size} ${file.lastModified}`
    const address = await persist(file, memory)
    if (!address) return complain(form.dataset.refused)
    tell(form.dataset.checking, 1, 1)
    form.elements.upload.value = address.split("/").pop()
    form.elements.upload.disabled = false
    input.disabled = true
    remember(memory, null)
    form.submit()
  }

  // The address of the complete upload, or nothing if the service will not have it.
  async function persist(file, memory) {
    let address = remember(memory)
    let offset = null
    let pause = 500
    tell(address ? form.dataset.resuming : form.dataset.sending, 0, file.size)
    for (;;) {
      try {
        if (address && offset === null) {
          const known = await fetch(address, {method: "HEAD", headers: {"Tus-Resumable": "1.0.0"}})
          if (known.ok) offset = Number(known.headers.get("Upload-Offset"))
          else if (known.status === 404) address = null
          else throw new Error(known.status)
        }
        if (!address) {
          const made = await fetch("/uploads", {method: "POST", headers: {"Tus-Resumable": "1.0.0", "Upload-Length": file.size}})
          if (made.status >= 500) throw new Error(made.status)
          if (!made.ok) return null
          address = made.headers.get("Location")
          offset = 0
          remember(memory, address)
        }
        if (offset === file.size) return address
        const sent = await fetch(address, {
          method: "PATCH",
          headers: {"Tus-Resumable": "1.0.0", "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream"},
          body: file.slice(offset, offset + PIECE),
        })
        if (!sent.ok) throw new Error(sent.status)
        offset = Number(sent.headers.get("Upload-Offset"))
        pause = 500
        tell(form.dataset.sending, offset, file.size)
      } catch {
        tell(form.dataset.waiting, offset || 0, file.size)
        offset = null
        await new Promise(done => setTimeout(done, pause))
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
      }
    }
  }

  function remember(key, value) {
    try {
      if (value === undefined) return localStorage.getItem(key)
      if (value === null) localStorage.removeItem(key)
      else localStorage.setItem(key, value)
    } catch {
      return null // storage is switched off: an upload then goes on within this page only
    }
  }
}

const waiting = document.querySelector("[data-events]")
if (waiting) {
  const source = new EventSource(waiting.dataset.events)
  let leaving = false
  document.addEventListener("submit", event => { leaving = !event.defaultPrevented })
  function show() {
    if (leaving) return // a reload would call back the form that is on its way
    // A form that is being filled must not be lost for it.
    if (!document.querySelector("details[open] form")) return location.reload()
    for (const state of waiting.querySelectorAll("[data-state]")) state.textContent = state.dataset.ready
  }
  source.addEventListener("progress", event => {
    for (const one of JSON.parse(event.data)) {
      const place = document.querySelector(`[data-call="${one.id}"]`)
      if (!place) continue
      const state = place.querySelector("[data-state]")
      const told = state.dataset[one.status]
      place.querySelector("progress").value = 100 * one.progress
      if (told && state.textContent !== told) state.textContent = told
      if (!told) show()
    }
  })
  source.addEventListener("done", () => {
    source.close()
    show()
  })
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000)
  })
}

const audio = document.querySelector("audio")
if (audio) {
  const controls = document.querySelector("[data-controls]")
  const slower = controls.querySelector("[data-slower]")
  const looping = controls.querySelector("[data-loop]")
  const bubbles = [...document.querySelectorAll("[data-from]")]
  let loop = null
  controls.hidden = false
  // It is made at the first look: a long one is then ready by the time that someone wants to hear it.
  addEventListener("load", () => fetch(audio.src, {method: "HEAD"}).catch(() => {}))
  for (const button of document.querySelectorAll("[data-loop-start]")) button.hidden = false

  function repeat(span) {
    loop = span
    looping.setAttribute("aria-pressed", String(Boolean(span)))
  }
  function play(start) {
    audio.currentTime = Number(start)
    audio.play().catch(() => {}) // the player's own controls say what is wrong
  }
  slower.addEventListener("click", () => {
    const slow = audio.playbackRate === 1
    audio.playbackRate = slow ? 0.7 : 1
    slower.setAttribute("aria-pressed", String(slow))
  })
  looping.addEventListener("click", () => {
    const now = bubbles.find(b => audio.currentTime >= b.dataset.from - 0.05 && audio.currentTime <= b.dataset.to)
    repeat(loop || !now ? null : {from: Number(now.dataset.from), to: Number(now.dataset.to)})
  })
  document.addEventListener("click", event => {
    const again = event.target.closest("[data-loop-start]")
    if (again) {
      repeat({from: Number(again.dataset.loopStart), to: Number(again.dataset.loopEnd)})
      return play(again.dataset.loopStart)
    }
    const from = event.target.closest("[data-start]")
    if (!from) return
    event.preventDefault()
    repeat(null)
    play(from.dataset.start)
  })
  audio.addEventListener("timeupdate", () => {
    if (loop && (audio.currentTime > loop.to + 0.3 || audio.currentTime < loop.from - 0.5)) audio.currentTime = Math.max(0, loop.from - 0.2)
    for (const bubble of bubbles) {
      const heard = audio.currentTime >= bubble.dataset.from && audio.currentTime < bubble.dataset.to
      bubble.classList.toggle("playing", heard && !audio.paused)
    }
  })
}

const blank = document.querySelector("#correction")
document.addEventListener("click", event => {
  const link = blank && event.target.closest("[data-edit]")
  if (!link) return
  event.preventDefault()
  const form = blank.content.firstElementChild.cloneNode(true)
  const index = link.dataset.edit
  const said = link.closest("li").querySelector(".said bdi")
  for (const [name, id] of [["text", "text-new"], ["speaker", "who-new"]]) {
    form.elements[name].id = `${id}-${index}`
    form.querySelector(`label[for=${id}]`).htmlFor = `${id}-${index}`
  }
  form.elements.utterance.value = index
  form.elements.seen.value = link.dataset.seen
  form.elements.text.value = "nothing" in said.dataset ? "" : said.textContent
  form.elements.speaker.value = link.dataset.speaker
  link.parentElement.replaceWith(form)
  form.elements.text.focus()
})
