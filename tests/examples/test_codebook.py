import re


def test_codebook(run):
    output = run("codebook.py")
    codes = re.search(r"codes of the first image: \[ *(\d+) +(\d+)\]", output)
    assert all(int(code) < 64 for code in codes.groups())
    assert re.search(r"_usage_2: 0\.\d+|_usage_2: 1\.0+", output)
    error = float(re.search(r"by the codes alone: (\S+)", output)[1])
    assert 0 < error < 0.14
