
document.addEventListener("click", event => {
  const from = event.target.closest("[data-start]")
  if (!from) return
  const audio = from.closest("section").querySelector("audio")
  audio.currentTime = Number(from.dataset.start)
  audio.play()
})
for (const audio of document.querySelectorAll("audio")) {
  audio.addEventListener("timeupdate", () => {
    for (const said of audio.closest("section").querySelectorAll("button[data-end]")) {
      const heard = audio.currentTime >= said.dataset.start && audio.currentTime < said.dataset.end
      said.closest("tr").classList.toggle("playing", heard && !audio.paused)
    }
  })
}
