# One problem, fitted by susie_rss several times. Called by kernel_vs_susie.py:
#   Rscript susie_rss.R FOLDER p n scaled_prior_variance L repeats tol
# FOLDER holds R.f64 (p x p doubles) and z.<k>.f64 (p doubles each, k = 0, 1, ...). For every z this writes
# pip.<k>.f64 (stopped at `tol` as timed) and tight.<k>.f64 (run to the end), and for the whole susie.json: CPU
# seconds (user + system) of the best of `repeats` calls for every z.
suppressMessages(library(susieR))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
p <- as.integer(arguments[2])
n <- as.numeric(arguments[3])
variance <- as.numeric(arguments[4])
L <- as.integer(arguments[5])
repeats <- as.integer(arguments[6])
tol <- as.numeric(arguments[7])

doubles <- function(name, count) {
  connection <- file(file.path(folder, name), "rb")
  on.exit(close(connection))
  readBin(connection, "double", count)
}
peak_mb <- function() {
  line <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

R <- matrix(doubles("R.f64", p * p), p, p)
loaded <- peak_mb()
fit <- function(z, tol, ...) {
  susie_rss(z, R, n = n, L = L, scaled_prior_variance = variance, estimate_prior_variance = FALSE,
            estimate_residual_variance = FALSE, check_prior = FALSE, tol = tol, ...)
}
cpu <- function(expression) {
  spent <- system.time(expression)
  spent[["user.self"]] + spent[["sys.self"]]
}

files <- list.files(folder, pattern = "^z[.][0-9]+[.]f64$")
rows <- character(0)
for (file in files) {
  k <- sub("^z[.]([0-9]+)[.]f64$", "\\1", file)
  z <- doubles(file, p)
  full <- c()
  bare <- c()
  for (i in seq_len(repeats)) {
    full <- c(full, cpu(suppressMessages(s <- fit(z, tol))))
    # without credible sets and their purity, which are not compared here
    bare <- c(bare, cpu(suppressMessages(fit(z, tol, coverage = NULL))))
  }
  writeBin(as.numeric(s$pip), file.path(folder, paste0("pip.", k, ".f64")))
  tight <- suppressMessages(fit(z, 1e-9, max_iter = 1000))
  writeBin(as.numeric(tight$pip), file.path(folder, paste0("tight.", k, ".f64")))
  rows <- c(rows, sprintf(
    '{"k": %s, "cpu": %.4f, "cpu_without_sets": %.4f, "iterations": %d, "converged": %s}',
    k, min(full), min(bare), s$niter, tolower(as.character(s$converged))))
}
blas <- normalizePath(extSoftVersion()[["BLAS"]], mustWork = FALSE)
implementation <- if (grepl("openblas", blas)) "OpenBLAS" else basename(blas)
writeLines(sprintf(
  '{"susieR": "%s", "R": "%s", "blas": "%s", "loaded_mb": %.1f, "peak_mb": %.1f, "fits": [%s]}',
  as.character(packageVersion("susieR")), as.character(getRversion()), implementation,
  loaded, peak_mb(), paste(rows, collapse = ", ")), file.path(folder, "susie.json"))
