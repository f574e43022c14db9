import pytest

from fer_models import cli


@pytest.fixture
def compare(capsys):
    """Run `fer-models compare`: exit code, standard output and standard error."""

    def run(*arguments):
        code = cli.main(["compare", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
